"""Tensors of all processes, with gradients. In a single process everything here returns its input.

Shapes: B batch of one process, W processes.
"""

from functools import lru_cache

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


def world_size() -> int:
    """Number of processes of the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_batch(tensor: Tensor) -> Tensor:
    """Concatenate B x ... of every process, in rank order, to W B x ...

    Gradients go back to the process a row came from, summed over the processes' losses: where every process
    computes the same loss of the gathered batch, the averaging of DistributedDataParallel then leaves that
    loss's own gradient.
    """
    return tensor if world_size() == 1 else _GatherBatch.apply(tensor)


def rank_share(tensor: Tensor) -> Tensor:
    """This process's rows, B x ..., of a gathered batch W B x ...: the inverse of `gather_batch`."""
    return tensor if world_size() == 1 else tensor.chunk(world_size())[dist.get_rank()]


def sum_over(tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Sum a tensor over the processes of a group (None: all of them), with gradient."""
    return _Sum.apply(tensor, group)


@torch.no_grad()
def average_over_processes(tensors: list[Tensor]) -> None:
    """Replace floating-point tensors by their mean over all processes, in place and in one exchange."""
    if world_size() == 1 or not tensors:
        return
    mean = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(mean)
    for tensor, part in zip(tensors, mean.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor) / world_size())


@lru_cache(maxsize=8)
def subgroup(size: int) -> dist.ProcessGroup:
    """The group of ``size`` consecutive ranks that this process belongs to. All processes must ask for it."""
    return dist.new_subgroups(size)[0]


class _GatherBatch(Function):
    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(world_size())[dist.get_rank()]


class _Sum(Function):
    @staticmethod
    def forward(ctx, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = tensor.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor):
        gradient = gradient.clone()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient, None
