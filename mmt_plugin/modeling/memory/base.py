"""Classifiers that remember embeddings instead of being trained. Shapes: B batch, D feature size, C classes,
N images, S source classes.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from fastreid.utils.registry import Registry
from torch import Tensor, nn

# By MMT.CLASSIFIER: called with the configuration and D, returns a `ClassMemory`.
MEMORY_REGISTRY = Registry("MEMORY")


class ClassMemory(nn.Module):
    """What MMT.CLASSIFIER names: buffers that classify embeddings and follow them, without any gradient.

    A pair's student and teacher share one. Labels are renewed by `reset`, and each optimiser step that is
    taken is followed by an `update` with the embeddings of all processes, so that every process has the same.
    """

    @property
    def num_classes(self) -> int:
        """C; 0 before the first `reset`."""
        raise NotImplementedError

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits, B x C, of embeddings B x D of any norm."""
        raise NotImplementedError

    def reset(self, labels: Tensor, features: Tensor, keep: int = 0) -> None:
        """Start from new labels.

        Args:
            labels: N class indices from 0; -1 for images that are left out. A class of no image looks at
                nothing (cosines are 0) until one of its images is trained on.
            features: N x D, L2-normalised; NaN for images that could not be read, which are left out.
            keep: S, the source classes that are there already and stay the first ones.
        """
        raise NotImplementedError

    def update(self, embeddings: Tensor, targets: Tensor, indices: Tensor) -> None:
        """Follow a batch that was trained on.

        Args:
            embeddings: B x D, of any norm.
            targets: B class indices in [0, C).
            indices: B positions of the images in their training set, source and target sets apart.
        """
        raise NotImplementedError

    def resize_like(self, weights: Mapping[str, Tensor], prefix: str = "") -> None:
        """Give the buffers the shapes that they have in a checkpoint, which is loaded next.

        Args:
            weights: of the checkpoint.
            prefix: of this memory's names in it.
        """
        for name, buffer in self.named_buffers(recurse=False):
            if (key := prefix + name) in weights:
                setattr(self, name, buffer.new_empty(weights[key].shape))


def check_arguments(dim: int, temperature: float, momentum: float) -> None:
    """Refuse values with which a memory cannot work.

    Raises:
        ValueError: naming them.
    """
    if dim < 1 or temperature <= 0 or not 0 <= momentum < 1:
        raise ValueError(
            f"a memory of {dim} values, temperature {temperature}, momentum {momentum}: the first two must "
            "be positive, momentum must lie in [0, 1)"
        )


def cosines(embeddings: Tensor, rows: Tensor) -> Tensor:
    """B x C in float32, also within autocast, of embeddings B x D of any norm with rows C x D."""
    with torch.autocast(embeddings.device.type, enabled=False):
        return F.linear(F.normalize(embeddings.float(), dim=1), rows)


@torch.no_grad()
def follow(rows: Tensor, index: Tensor, embeddings: Tensor, momentum: float) -> None:
    """row <- m row + (1 - m) x, normalised again, for one embedding after the other, in place.

    Args:
        rows: R x D, L2-normalised.
        index: B, the row that each embedding moves; one that comes several times is moved several times, in
            batch order.
        embeddings: B x D, L2-normalised.
        momentum: m, in [0, 1).
    """
    if not len(index):
        return
    order = torch.argsort(index, stable=True)
    _, counts = torch.unique_consecutive(index[order], return_counts=True)
    starts = counts.cumsum(0) - counts
    # The t-th embeddings of all rows move at once: as many steps as the commonest row has embeddings.
    for turn in range(int(counts.max())):
        chosen = order[starts[counts > turn] + turn]
        moved = momentum * rows[index[chosen]] + (1 - momentum) * embeddings[chosen]
        rows.index_copy_(0, index[chosen], F.normalize(moved, dim=1))
