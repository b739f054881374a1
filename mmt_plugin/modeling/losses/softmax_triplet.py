"""Softmax-triplet losses with batch-hard mining, on hard and on soft labels. Shapes: B batch, D feature size.

T(i) = softmax over the distances to the hardest positive and to the hardest negative, its second entry, is
the probability that the positive lies nearer than the negative. The hard loss asks for T = 1; the soft loss
asks for the teacher's T.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Lower bound of a squared distance, so that the square root has a finite gradient (published MMT code).
MIN_SQUARED_DISTANCE = 1e-12


# Whose features a triplet's gradient reaches: all three images' (published MMT code), or the anchor's alone
# (OpenUnReID). The losses are equal.
GRADIENTS = ("both", "anchor")


def euclidean_distance(features: Tensor, gradient: str = "both") -> Tensor:
    """Pairwise Euclidean distances, B x B, of features B x D, by the expansion |a|^2 + |b|^2 - 2ab, in
    float32 at least.

    Args:
        features: B x D.
        gradient: of GRADIENTS; with "anchor" the columns' features are constants.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    norm = features.pow(2).sum(dim=1)
    others, others_norm = (features, norm) if gradient == "both" else (features.detach(), norm.detach())
    squared = norm[:, None] + others_norm[None, :] - 2 * features @ others.t()
    return squared.clamp(min=MIN_SQUARED_DISTANCE).sqrt()


@dataclass(frozen=True)
class Triplets:
    """Each anchor with its farthest positive (itself included) and nearest negative.

    Attributes:
        pairs: B x 2 indices of the positives and the negatives.
        distances: B x 2, to the positive and to the negative, with gradient.
    """

    pairs: Tensor
    distances: Tensor


def hardest_triplets(features: Tensor, targets: Tensor, gradient: str = "both") -> Triplets:
    """Mine a batch; what several losses of the same features share.

    Args:
        features: B x D pooled features before the BNNeck, not normalised.
        targets: B labels.
        gradient: of GRADIENTS.

    Raises:
        ValueError: if the shapes do not fit, if there is no such gradient, or if all labels are equal, so
            that no negative exists. On a GPU, which would have to be waited for to find that out, all
            distances are NaN instead.
    """
    _check(features, targets)
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient is {gradient!r}; choose one of {', '.join(GRADIENTS)}")
    same = targets[:, None] == targets[None, :]
    if same.device.type == "cpu" and bool(same.all()):
        raise ValueError(
            f"all {len(targets)} images of the batch share one label: a triplet needs a negative"
        )
    return _hardest(euclidean_distance(features, gradient), same)


def _hardest(distance: Tensor, same: Tensor) -> Triplets:
    """Triplets of a B x B distance, given which pairs share their label; NaN distances where all do."""
    positives = distance.detach().masked_fill(~same, float("-inf")).argmax(dim=1)
    negatives = distance.detach().masked_fill(same, float("inf")).argmin(dim=1)
    pairs = torch.stack([positives, negatives], dim=1)
    return Triplets(pairs, distance.gather(1, pairs).masked_fill(same.all(), torch.nan))


def triplet_probabilities(features: Tensor, pairs: Tensor) -> Tensor:
    """1 - T and T, B x 2, of triplets that were mined on other features.

    Args:
        features: B x D.
        pairs: B x 2, of `Triplets`.
    """
    return F.softmax(euclidean_distance(features).gather(1, pairs), dim=1)


def _check(features: Tensor, targets: Tensor) -> None:
    if features.dim() != 2 or targets.shape != features.shape[:1]:
        raise ValueError(
            f"expected features B x D and B targets, got {tuple(features.shape)} and {tuple(targets.shape)}"
        )


def softmax_triplet_loss(features: Tensor, targets: Tensor, triplets: Triplets | None = None) -> Tensor:
    """Mean of -log T over the batch (MMT paper, Eq. 6), i.e. softplus(d_positive - d_negative).

    Args:
        features: B x D pooled features before the BNNeck, not normalised.
        targets: B labels.
        triplets: of `hardest_triplets`, where they have been mined already.

    Returns:
        Scalar mean over the batch.

    Raises:
        ValueError: if the shapes do not fit or the batch holds a single label.
    """
    triplets = triplets or hardest_triplets(features, targets)
    d_positive, d_negative = triplets.distances.unbind(dim=1)
    return F.softplus(d_positive - d_negative).mean()


def soft_softmax_triplet_loss(
    student_features: Tensor, teacher_features: Tensor, targets: Tensor, triplets: Triplets | None = None
) -> Tensor:
    """Mean binary cross-entropy between the teacher's T and the student's T (MMT paper, Eq. 8).

    The triplets are mined on the student's distances; the teacher's distances are read at the same index
    pairs. No gradient reaches the teacher.

    Args:
        student_features: B x D pooled features before the BNNeck, not normalised.
        teacher_features: B x D of the peer network's mean teacher on the same images.
        targets: B labels.
        triplets: of `hardest_triplets` of the student, where they have been mined already.

    Returns:
        Scalar mean over the batch.

    Raises:
        ValueError: if the shapes do not fit or the batch holds a single label.
    """
    _check(teacher_features, targets)
    triplets = triplets or hardest_triplets(student_features, targets)
    student = F.log_softmax(triplets.distances, dim=1)
    teacher = triplet_probabilities(teacher_features.detach(), triplets.pairs)
    return -(teacher * student).sum(dim=1).mean()
