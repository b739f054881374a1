"""Gradient checkpointing (Chen et al., arXiv 1604.06174): of a backbone's blocks only the inputs are kept for
the backward pass, which computes the rest again.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .layers import Route, current_route, same_route

LISTS = (nn.Sequential, nn.ModuleList)


def checkpoint_blocks(backbone: nn.Module) -> None:
    """Checkpoint every block of a backbone's stages, in place; names and numbers stay what they are.

    A backbone that has a switch of its own (`set_grad_checkpointing`, as in timm) uses that, unless it has BN
    layers: those would count each batch twice, and not know the domains in the second pass.

    Stages are the backbone's lists of layers, blocks those of their elements that have several layers with
    parameters.

    Raises:
        ValueError: the backbone has none.
    """
    has_batch_norm = any(isinstance(layer, _BatchNorm) for layer in backbone.modules())
    if hasattr(backbone, "set_grad_checkpointing") and not has_batch_norm:
        backbone.set_grad_checkpointing()
        return
    body = backbone
    while len(children := list(body.children())) == 1 and not isinstance(children[0], LISTS):
        body = children[0]  # a backbone around another, as those of timm
    stages = [child for child in children if isinstance(child, LISTS)]
    blocks = [block for stage in stages for block in stage if len(list(_parametrised(block))) > 1]
    if not blocks:
        raise ValueError(
            f"MODEL.BACKBONE.GRADIENT_CHECKPOINTING is True, but {type(backbone).__name__} has no lists of "
            "blocks to checkpoint: set it False"
        )
    for block in blocks:
        # A class of its own rather than a module around the block: state dicts keep their names.
        block.__class__ = _checkpointed(type(block))


class CheckpointedBlock(nn.Module):
    """What a block's class inherits from first, in order to be checkpointed in training."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """As without checkpointing. BN layers see the batch twice and count it once."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*inputs)
        contexts = partial(_contexts, self, current_route())
        return checkpoint(super().forward, *inputs, use_reentrant=False, context_fn=contexts)


@cache
def _checkpointed(block_class: type[nn.Module]) -> type[nn.Module]:
    return type(f"Checkpointed{block_class.__name__}", (CheckpointedBlock, block_class), {})


def _contexts(block: nn.Module, known: Route | None) -> tuple[AbstractContextManager, AbstractContextManager]:
    """What the first pass and the second, which is part of the backward pass, run in."""
    return nullcontext(), _second_pass(block, known)


@contextmanager
def _second_pass(block: nn.Module, known: Route | None) -> Iterator[None]:
    """The domains of the first pass; BN layers end with the statistics that they have."""
    buffers = [
        buffer
        for layer in block.modules()
        if isinstance(layer, _BatchNorm)
        for buffer in layer.buffers(recurse=False)
    ]
    before = [buffer.clone() for buffer in buffers]
    try:
        with same_route(known):
            yield
    finally:  # the pass is left by an exception when nothing is missing any more
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


def _parametrised(module: nn.Module) -> Iterator[nn.Module]:
    return (layer for layer in module.modules() if any(True for _ in layer.parameters(recurse=False)))
