"""Optimisers and schedules that do what the config says."""

import logging
import math
from functools import wraps

import torch
from fastreid.engine.defaults import DefaultTrainer
from fastreid.solver import build
from fastreid.solver.optim import SWA
from fastreid.utils.params import ContiguousParams
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
    average_weights_with_swa,
)
