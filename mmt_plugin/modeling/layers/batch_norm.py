"""Batch normalisation over chosen images: over chunks of the batch, over processes, over one domain.

A batch normalised as a whole trains differently from the same batch on several GPUs, each of which normalises
its share; these layers make the group of images that share statistics a setting of its own.

Shapes: B batch, G images of a chunk, C channels, M domains.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmt_plugin.modeling.collectives import subgroup, sum_over, world_size

from .routing import DOMAINS, TARGET, current_route


class ChunkedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of consecutive chunks of G images, each with statistics of its own ("ghost" BN).

    Samplers give the images of an identity one after the other, so a chunk of G = 16 holds 4 whole identities
    of 4, as each of the 4 GPUs of the published recipes does. Outputs and gradients are those of as many
    replicas; running statistics are the mean of the replicas' ones. (fastreid's GhostBN takes every n-th
    image: one of each identity.) Parameters, buffers and their names are those of the layer it replaces.

    Where that was a SyncBatchNorm and a process has fewer than G images, as many processes as make up a chunk
    share their statistics; all do with G = 0.
    """

    def __init__(self, norm: _BatchNorm, chunk: int):
        """
        Args:
            norm: the layer to replace; its parameters and buffers are taken over, not copied.
            chunk: G; 0 means all images that the process has.
        """
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers(recurse=False):
            setattr(self, name, buffer)
        self.training = norm.training
        self.chunk = chunk
        self.synchronised = isinstance(norm, nn.SyncBatchNorm)
        one_dimensional = isinstance(norm, nn.BatchNorm1d)
        self.plain_class = nn.BatchNorm1d if one_dimensional else nn.BatchNorm2d

    def forward(self, x: Tensor) -> Tensor:
        """Normalise B x C or B x C x ..."""
        return join(self.parts(x))

    def parts(self, x: Tensor) -> list[Tensor]:
        """The normalised chunks, in order; a batch that is no multiple of G is cut evenly."""
        if not self.training:
            return [super().forward(x)]
        if self.synchronised and world_size() > 1 and (self.chunk == 0 or self.chunk > len(x)):
            return [self._normalise_over_processes(x)]
        count = max(1, len(x) // self.chunk) if self.chunk else 1
        return [super().forward(x)] if count == 1 else self._normalise_chunks(x.tensor_split(count))

    def plain(self) -> _BatchNorm:
        """An ordinary layer with the same parameters and buffers."""
        norm = self.plain_class(
            self.num_features, self.eps, self.momentum, self.affine, self.track_running_stats
        )
        norm.weight, norm.bias = self.weight, self.bias
        for name, buffer in self.named_buffers(recurse=False):
            setattr(norm, name, buffer)
        return norm.train(self.training)

    def _normalise_chunks(self, chunks: tuple[Tensor, ...]) -> list[Tensor]:
        if not self.track_running_stats:
            return [super(ChunkedBatchNorm, self).forward(chunk) for chunk in chunks]
        momentum = self._count_batch()
        means, variances = (buffer.repeat(len(chunks), 1) for buffer in (self.running_mean, self.running_var))
        outputs = [
            F.batch_norm(chunk, mean, variance, self.weight, self.bias, True, momentum, self.eps)
            for chunk, mean, variance in zip(chunks, means, variances, strict=True)
        ]
        self.running_mean.copy_(means.mean(dim=0))
        self.running_var.copy_(variances.mean(dim=0))
        return outputs

    def _normalise_over_processes(self, x: Tensor) -> Tensor:
        """Statistics of the images of several processes. Two sums over them, so that no precision is lost."""
        processes = min(world_size(), self.chunk // len(x)) if self.chunk else world_size()
        group = None if processes == world_size() else subgroup(processes)
        values = x.float()
        dims = [0, *range(2, x.dim())]
        shape = (1, -1, *(1 for _ in range(2, x.dim())))
        counted = sum_over(
            torch.cat([values.sum(dim=dims), values.new_tensor([x.numel() // x.shape[1]])]), group
        )
        count = counted[-1].detach()
        mean = counted[:-1] / count
        centred = values - mean.view(shape)
        variance = sum_over(centred.square().sum(dim=dims), group) / count
        if self.track_running_stats:
            momentum = self._count_batch()
            self.running_mean.lerp_(mean.detach(), momentum)
            self.running_var.lerp_(variance.detach() * count / (count - 1), momentum)
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(x.dtype)

    def _count_batch(self) -> float:
        """The share of this batch in the running statistics, which are plain averages without a momentum."""
        self.num_batches_tracked.add_(1)
        return 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ValueError(f"expected B x C or B x C x ..., got {tuple(x.shape)}")

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, chunk={self.chunk}, synchronised={self.synchronised}"


class DomainBatchNorm(nn.Module):
    """One batch normalisation a domain (Chang et al., CVPR 2019), chosen by the `route` in force.

    Evaluation outside of any route is evaluation on the target; training has to say what it trains on.
    """

    def __init__(self, norm: _BatchNorm, chunk: int):
        """
        Args:
            norm: gives every domain its parameters, frozen ones frozen, and its statistics to start from.
            chunk: see `ChunkedBatchNorm`.
        """
        super().__init__()
        for index, name in enumerate(DOMAINS):
            own = norm if index == 0 else copy.deepcopy(norm)
            self.add_module(name, ChunkedBatchNorm(own, chunk))
        self.training = norm.training

    def forward(self, x: Tensor) -> Tensor:
        """Normalise B x C or B x C x ..., each run of images by its domain's layer.

        Raises:
            RuntimeError: in training without a route, or if the route is of another batch size.
        """
        route = current_route()
        if route is None:
            if self.training:
                raise RuntimeError(
                    "domain-specific BN trains inside `with route(domains)` only: it must know the domain of "
                    "each image"
                )
            route = TARGET
        if isinstance(route, int):
            return self.of(route)(x)
        runs = zip(route, x.split([count for _, count in route]), strict=True)
        return join([part for (domain, _), run in runs for part in self.of(domain).parts(run)])

    def of(self, domain: int) -> ChunkedBatchNorm:
        """One domain's layer."""
        return getattr(self, DOMAINS[domain])


@contextmanager
def whole_batches(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Let BN layers normalise each batch of a process as a whole meanwhile: for images in list order, of
    which a chunk shows one or two identities.
    """
    chunked = [layer for layer in layers if isinstance(layer, ChunkedBatchNorm)]
    settings = [(layer.chunk, layer.synchronised) for layer in chunked]
    for layer in chunked:
        layer.chunk, layer.synchronised = 0, False
    try:
        yield
    finally:
        for layer, (chunk, synchronised) in zip(chunked, settings, strict=True):
            layer.chunk, layer.synchronised = chunk, synchronised


def join(parts: list[Tensor]) -> Tensor:
    """Concatenate along the batch; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
