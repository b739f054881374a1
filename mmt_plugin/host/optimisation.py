"""Optimisers and schedules that do what the config says."""

import logging
import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from fastreid.engine.defaults import DefaultTrainer
from fastreid.solver import build, lr_scheduler
from fastreid.solver.optim import SWA
from fastreid.utils.params import ContiguousParams
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from . import parts
from .patching import replace

logger = logging.getLogger("fastreid.mmt.host")


def keep_flat_gradients() -> None:
    """Without it training changes no weight and says nothing: the host's flat parameters need their gradient
    buffers, which `zero_grad` of torch >= 2 throws away.
    """

    def make(build_optimizer):
        @wraps(build_optimizer)
        def build_training_optimizer(*args, **kwargs):
            optimizer, parameters = build_optimizer(*args, **kwargs)
            if isinstance(parameters, ContiguousParams):
                _zero_in_place(optimizer)
            return optimizer, parameters

        return build_training_optimizer

    replace(build, "build_optimizer", make)


def _zero_in_place(optimizer: torch.optim.Optimizer) -> None:
    def zero_grad(set_to_none: bool = False) -> None:
        """Zero the gradients; `set_to_none` cannot be honoured, every parameter's gradient is a view of the
        flat one.
        """
        type(optimizer).zero_grad(optimizer, set_to_none=False)

    optimizer.zero_grad = zero_grad


def build_schedules_of_short_runs() -> None:
    """Without it a training set smaller than a batch, and a cosine schedule whose warm-up is as long as the
    run, end in ZeroDivisionErrors.
    """
    replace(build, "build_lr_scheduler", _build_lr_scheduler)


def _build_lr_scheduler(host_build):
    @wraps(host_build)
    def build_lr_scheduler(cfg, optimizer, iters_per_epoch):
        solver = cfg.SOLVER
        if iters_per_epoch < 1:
            raise parts.given.DataError(
                "an epoch has no iterations: the training set has fewer images than SOLVER.IMS_PER_BATCH, "
                f"which is {solver.IMS_PER_BATCH}"
            )
        schedulers = host_build(cfg, optimizer, iters_per_epoch)
        schedule = schedulers["lr_sched"]
        if isinstance(schedule, CosineAnnealingLR) and schedule.T_max < 1:
            schedule.T_max = 1
            warmup = math.ceil(solver.WARMUP_ITERS / iters_per_epoch)
            logger.warning(
                "No epoch is left for the cosine schedule: "
                "SOLVER.MAX_EPOCH %d, SOLVER.WARMUP_ITERS %d (%d epochs), SOLVER.DELAY_EPOCHS %d",
                *(solver.MAX_EPOCH, solver.WARMUP_ITERS, warmup, solver.DELAY_EPOCHS),
            )
        return schedulers

    return build_lr_scheduler


def follow_the_config_when_resumed() -> None:
    """Without it a cosine schedule that is resumed for more epochs climbs again: what its checkpoint says of
    the run's length goes before what the config says.
    """
    for name in ("CosineAnnealingLR", "MultiStepLR"):
        replace(lr_scheduler, name, lambda schedule: type(schedule.__name__, (_OfTheConfig, schedule), {}))


class _OfTheConfig:
    """Takes nothing but its position from a checkpoint."""

    POSITION = ("last_epoch", "_step_count", "_last_lr")

    def load_state_dict(self, state: dict) -> None:
        own = {name: value for name, value in state.items() if name not in self.POSITION}
        changed = any(vars(self).get(name) != value for name, value in own.items())
        vars(self).update({name: state[name] for name in self.POSITION if name in state})
        # Before the first epoch that counts, the warm-up sets the rate.
        if changed and self.last_epoch > 0:
            rates = self._get_closed_form_lr()
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate


def freeze_layers_once() -> None:
    """Without it layers that SOLVER.FREEZE_ITERS has released are frozen again after each resume: the
    iterations are counted in a closure, which no checkpoint holds.
    """
    replace(build, "_generate_optimizer_class_with_freeze_layer", lambda _: optimizer_with_frozen_layers)


def optimizer_with_frozen_layers(optimizer_class: type[Optimizer], *, freeze_iters: int) -> type[Optimizer]:
    """An optimiser class that leaves groups of "freeze_status" "freeze" as they are in its first steps, which
    it counts in its groups' "steps_done", part of its state.
    """

    class WithFrozenLayers(optimizer_class):
        @torch.no_grad()
        def step(self, closure: Callable | None = None) -> Any:
            frozen = []
            for group in self.param_groups:
                done = group.get("steps_done", 0)
                if done < freeze_iters and group["freeze_status"] == "freeze":
                    frozen += [parameter for parameter in group["params"] if parameter.grad is not None]
                group["steps_done"] = done + 1
            gradients = [parameter.grad for parameter in frozen]
            for parameter in frozen:
                parameter.grad = None
            result = super().step(closure)
            for parameter, gradient in zip(frozen, gradients, strict=True):
                parameter.grad = gradient
            return result

    WithFrozenLayers.__name__ = f"{optimizer_class.__name__}WithFrozenLayers"
    return WithFrozenLayers


def average_weights_with_swa() -> None:
    """Without it the hook `SWA` fails on a property without setter, and its optimiser throws flat gradients
    away again.
    """
    getter = DefaultTrainer.optimizer.fget
    DefaultTrainer.optimizer = property(
        getter, lambda self, value: setattr(self._trainer, "optimizer", value)
    )
    SWA.zero_grad = lambda self, set_to_none=True: self.optimizer.zero_grad(set_to_none=set_to_none)


REPAIRS = (
    keep_flat_gradients,
    build_schedules_of_short_runs,
    follow_the_config_when_resumed,
    freeze_layers_once,
    average_weights_with_swa,
)
