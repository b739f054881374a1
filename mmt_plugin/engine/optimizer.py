"""One optimiser over all students, with as few parameter groups as their hyper-parameters allow."""

from collections.abc import Iterable

import torch
from fastreid.config import CfgNode
from fastreid.solver.build import (
    get_default_optimizer_params,
    maybe_add_freeze_layer,
    maybe_add_gradient_clipping,
)
from torch import nn

from .layer_decay import layer_scales

# Optimisers that update in one kernel, on the CPU and on CUDA: several times faster than one by one.
FUSED = ("Adam", "AdamW", "SGD")


def build_optimizer(cfg: CfgNode, students: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """SOLVER.OPT over the students' trainable parameters.

    fastreid's own builder flattens all parameters into one buffer, which classifier rows that come and go
    rule out; and it matches HEADS_LR_FACTOR and FREEZE_LAYERS by names that start a network, which is why
    each student is asked for separately.
    """
    solver = cfg.SOLVER
    groups: dict[tuple, dict] = {}
    for student in students:
        scales = layer_scales(student.backbone, solver.LAYER_DECAY) if solver.LAYER_DECAY < 1 else {}
        for entry in get_default_optimizer_params(
            student,
            base_lr=solver.BASE_LR,
            weight_decay=solver.WEIGHT_DECAY,
            weight_decay_norm=solver.WEIGHT_DECAY_NORM,
            bias_lr_factor=solver.BIAS_LR_FACTOR,
            heads_lr_factor=solver.HEADS_LR_FACTOR,
            weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
            freeze_layers=cfg.MODEL.FREEZE_LAYERS if solver.FREEZE_ITERS > 0 else [],
        ):
            entry["lr"] *= scales.get(id(entry["params"][0]), 1)
            key = tuple((name, value) for name, value in sorted(entry.items()) if name != "params")
            groups.setdefault(key, {**entry, "params": []})["params"] += entry["params"]
    optimizer_class = maybe_add_freeze_layer(
        cfg, maybe_add_gradient_clipping(cfg, getattr(torch.optim, solver.OPT))
    )
    extra = {"fused": True} if solver.OPT in FUSED else {}
    if solver.OPT == "SGD":
        extra.update(momentum=solver.MOMENTUM, nesterov=solver.NESTEROV)
    return optimizer_class(list(groups.values()), **extra)


def load_moments(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Take up what an optimiser has gathered of its parameters; its rates, decays and the like stay those of
    the configuration.

    Raises:
        ValueError: the state is of other parameters.
    """
    settings = [{**group} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update({name: value for name, value in own.items() if name != "params"})


def forget_moments(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter] | None = None, keep: int = 0
) -> None:
    """Drop the optimiser's state of the given parameters, or of all, as if they were new to it.

    Args:
        optimizer: any of torch's.
        parameters: of the optimiser; None means all.
        keep: the first rows of the given parameters, whose number of rows may have changed, keep theirs.
    """
    if parameters is None:
        optimizer.state.clear()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    elif keep or isinstance(optimizer, torch.optim.SGD):
        # SGD fails where one parameter lacks a momentum that others have; zero is as good as none.
        keep_rows(optimizer, parameters, keep)
        return
    # What some, like Adagrad, make when they are built, and others with a parameter's first step.
    fresh = type(optimizer)([{**group} for group in optimizer.param_groups]).state
    for parameter in parameters:
        optimizer.state.pop(parameter, None)
        if parameter in fresh:
            optimizer.state[parameter] = fresh[parameter]


def keep_rows(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], keep: int) -> None:
    """Give new rows of parameters a fresh state beside that of the first rows, which stay.

    Args:
        optimizer: any of torch's.
        parameters: their first `keep` rows are those of before; how many follow may have changed.
        keep: rows that stay.
    """
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for parameter in parameters:
        state = optimizer.state.get(parameter, {})
        for name, value in state.items():
            # Counters are numbers; factored moments have a single row for all.
            if not torch.is_tensor(value) or value.dim() != parameter.dim() or len(value) < keep:
                continue
            # The step size of Rprop starts from the learning rate, all else from zero.
            start = rates[id(parameter)] if name == "step_size" else 0.0
            rows = value.new_full((len(parameter), *value.shape[1:]), start)
            rows[:keep] = value[:keep]
            state[name] = rows
