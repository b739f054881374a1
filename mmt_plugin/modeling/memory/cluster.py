"""One centroid a class (Cluster-Contrast, Dai et al., arXiv 2103.11568). Shapes: B batch, D feature size, C
classes, N images.
"""

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor

from .base import MEMORY_REGISTRY, ClassMemory, check_arguments, cosines, follow


class ClusterMemory(ClassMemory):
    """Logits are the cosines of an embedding with the classes' rows, divided by a temperature.

    Attributes:
        rows: C x D, L2-normalised; part of the checkpoint.
    """

    def __init__(self, dim: int, temperature: float = 0.05, momentum: float = 0.1, hard: bool = False):
        """
        Args:
            dim: D.
            temperature: of the logits.
            momentum: share of a row that stays when an embedding moves it, in [0, 1).
            hard: move a row by the batch's hardest image of its class alone, the one least similar to it,
                rather than by one image after the other.

        Raises:
            ValueError: a value is out of range.
        """
        super().__init__()
        check_arguments(dim, temperature, momentum)
        self.temperature, self.momentum, self.hard = temperature, momentum, hard
        self.register_buffer("rows", torch.empty(0, dim))

    @property
    def num_classes(self) -> int:
        return len(self.rows)

    def forward(self, embeddings: Tensor) -> Tensor:
        return cosines(embeddings, self.rows) / self.temperature

    @torch.no_grad()
    def reset(self, labels: Tensor, features: Tensor, keep: int = 0) -> None:
        """Rows become the L2-normalised centroids, after the first ``keep``."""
        centroids = class_centroids(labels, features)
        self.rows = torch.cat([self.rows[:keep], F.normalize(centroids, dim=1).to(self.rows)])

    @torch.no_grad()
    def update(self, embeddings: Tensor, targets: Tensor, indices: Tensor | None = None) -> None:
        embeddings = F.normalize(embeddings.float(), dim=1)
        if self.hard:
            similarities = (embeddings * self.rows[targets]).sum(dim=1)
            chosen = _least_of_each(similarities, targets)
            embeddings, targets = embeddings[chosen], targets[chosen]
        follow(self.rows, targets, embeddings, self.momentum)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, momentum={self.momentum}, hard={self.hard}"


@MEMORY_REGISTRY.register()
def memory(cfg: CfgNode, dim: int) -> ClusterMemory:
    """MMT.CLASSIFIER "memory"."""
    keys = cfg.MMT.MEMORY
    return ClusterMemory(dim, keys.TEMPERATURE, keys.MOMENTUM, keys.HARD)


def class_centroids(labels: Tensor, features: Tensor) -> Tensor:
    """Mean feature of each class, C x D, of N labels from 0 (-1: of no class) and features N x D; zeros
    for a class of no image.
    """
    members = labels >= 0
    labels = labels[members]
    counts = torch.bincount(labels)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add_(0, labels, features[members])
    return sums / counts[:, None].clamp(min=1)


def _least_of_each(values: Tensor, targets: Tensor) -> Tensor:
    """Where the smallest of the B values of each class is; of equal ones the first."""
    order = torch.argsort(values, stable=True)
    order = order[torch.argsort(targets[order], stable=True)]
    _, counts = torch.unique_consecutive(targets[order], return_counts=True)
    return order[counts.cumsum(0) - counts]
