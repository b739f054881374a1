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
            key = tuple((name, value) for name, value in sorted(entry.items()) if name != "params")
            groups.setdefault(key, {**entry, "params": []})["params"] += entry["params"]
    optimizer_class = maybe_add_freeze_layer(
        cfg, maybe_add_gradient_clipping(cfg, getattr(torch.optim, solver.OPT))
    )
    extra = {"fused": True} if solver.OPT in FUSED else {}
    if solver.OPT == "SGD":
        extra.update(momentum=solver.MOMENTUM, nesterov=solver.NESTEROV)
    return optimizer_class(list(groups.values()), **extra)


def forget_moments(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter] | None = None
) -> None:
    """Drop the optimiser's state of the given parameters, or of all."""
    if parameters is None:
        optimizer.state.clear()
        return
    for parameter in parameters:
        optimizer.state.pop(parameter, None)
