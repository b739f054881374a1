"""The losses of Mutual Mean-Teaching, one file each."""

from .label_smooth_cross_entropy import label_smooth_cross_entropy
from .moco import moco_loss
from .soft_cross_entropy import soft_cross_entropy
from .softmax_triplet import (
    hardest_triplets,
    soft_softmax_triplet_loss,
    softmax_triplet_loss,
    triplet_probabilities,
)

__all__ = [
    "hardest_triplets",
    "label_smooth_cross_entropy",
    "moco_loss",
    "soft_cross_entropy",
    "soft_softmax_triplet_loss",
    "softmax_triplet_loss",
    "triplet_probabilities",
]
