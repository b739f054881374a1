"""One entry an image, and one a source class (SpCL, Ge et al., NeurIPS 2020). Shapes: B batch, D feature
size, E entries, C classes, N images, S source classes.
"""

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor

from .base import MEMORY_REGISTRY, ClassMemory, check_arguments, cosines, follow

# What the published code adds to a probability before its logarithm.
MIN_PROBABILITY = 1e-6


class HybridMemory(ClassMemory):
    """Classes are told by the mean cosines of an embedding with all their entries, divided by a temperature.

    Logits are logarithms of the softmax of these, of no probability below 1e-6: an image whose class has less
    has next to no gradient, as published.

    Entries are filled once, with the features of the first labels, and then follow the embeddings of their
    image alone; new labels group them anew. An outlier is a class of its own where the labels say so
    (PSEUDO_LABELS.OUTLIERS "singletons"). Source classes have one entry each, their centroid.

    Attributes:
        entries: E x D with E = S + N, L2-normalised; part of the checkpoint, as are all others.
        labels: E, the class of each entry; -1 for those of none.
        counts: C, the entries of each class.
        num_source: S.
    """

    def __init__(self, dim: int, temperature: float = 0.05, momentum: float = 0.2):
        """
        Args:
            dim: D.
            temperature: of the logits.
            momentum: share of an entry that stays when an embedding moves it, in [0, 1).

        Raises:
            ValueError: a value is out of range.
        """
        super().__init__()
        check_arguments(dim, temperature, momentum)
        self.temperature, self.momentum = temperature, momentum
        self.register_buffer("entries", torch.empty(0, dim))
        self.register_buffer("labels", torch.empty(0, dtype=torch.long))
        self.register_buffer("counts", torch.empty(0, dtype=torch.long))
        self.register_buffer("num_source", torch.tensor(0))

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    def forward(self, embeddings: Tensor) -> Tensor:
        # The mean of cosines is the cosine with the mean: E x B similarities are never made.
        own = self.labels.where(self.labels >= 0, self.num_classes)
        sums = self.entries.new_zeros(self.num_classes + 1, self.entries.shape[1])
        means = sums.index_add_(0, own, self.entries)[:-1] / self.counts[:, None].clamp(min=1)
        similarities = cosines(embeddings, means) / self.temperature
        return (similarities.softmax(dim=1) + MIN_PROBABILITY).log()

    @torch.no_grad()
    def reset(self, labels: Tensor, features: Tensor, keep: int = 0) -> None:
        """Group the entries by new labels; where there are none yet, features become entries."""
        device = self.entries.device
        if len(self.entries) != keep + len(features):
            added = F.normalize(features.nan_to_num(), dim=1).to(self.entries)
            self.entries = torch.cat([self.entries[:keep], added])
        own = torch.cat([torch.arange(keep), torch.where(labels >= 0, labels + keep, -1).cpu()])
        self.labels = own.to(device)
        self.counts = torch.bincount(own[own >= 0]).to(device)
        self.num_source = torch.tensor(keep, device=device)

    @torch.no_grad()
    def update(self, embeddings: Tensor, targets: Tensor, indices: Tensor) -> None:
        own = torch.where(targets < self.num_source, targets, self.num_source + indices)
        follow(self.entries, own, F.normalize(embeddings.float(), dim=1), self.momentum)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, momentum={self.momentum}"


@MEMORY_REGISTRY.register()
def hybrid(cfg: CfgNode, dim: int) -> HybridMemory:
    """MMT.CLASSIFIER "hybrid"."""
    return HybridMemory(dim, cfg.MMT.MEMORY.TEMPERATURE, cfg.MMT.MEMORY.MOMENTUM)
