"""Softmax-triplet losses with batch-hard mining, on hard and on soft labels. Shapes: B batch, D feature size.

T(i) = softmax over the distances to the hardest positive and to the hardest negative, its second entry, is
the probability that the positive lies nearer than the negative. The hard loss asks for T = 1; the soft loss
asks for the teacher's T.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Lower bound of a squared distance, so that the square root has a finite gradient (published MMT code).
MIN_SQUARED_DISTANCE = 1e-12


def euclidean_distance(features: Tensor) -> Tensor:
    """Pairwise Euclidean distances, B x B, of features B x D, by the expansion |a|^2 + |b|^2 - 2ab, in
    float32 at least.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    squared_norm = features.pow(2).sum(dim=1)
    squared = squared_norm[:, None] + squared_norm[None, :] - 2 * features @ features.t()
    return squared.clamp(min=MIN_SQUARED_DISTANCE).sqrt()


def hardest_pairs(distance: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of each anchor's farthest positive (itself included) and nearest negative.

    Args:
        distance: B x B.
        targets: B labels.

    Returns:
        Two B index vectors.

    Raises:
        ValueError: if all labels are equal, so that no negative exists.
    """
    same = targets[:, None] == targets[None, :]
    if bool(same.all()):
        raise ValueError(
            f"all {len(targets)} images of the batch share one label: a triplet needs a negative"
        )
    positive = distance.detach().masked_fill(~same, float("-inf")).argmax(dim=1)
    negative = distance.detach().masked_fill(same, float("inf")).argmin(dim=1)
    return positive, negative


def _positive_negative_distances(distance: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """B x 2: each anchor's distance to its chosen positive and negative."""
    return distance.gather(1, torch.stack([positive, negative], dim=1))


def _check(features: Tensor, targets: Tensor) -> None:
    if features.dim() != 2 or targets.shape != features.shape[:1]:
        raise ValueError(
            f"expected features B x D and B targets, got {tuple(features.shape)} and {tuple(targets.shape)}"
        )


def softmax_triplet_loss(features: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log T over the batch (MMT paper, Eq. 6), i.e. softplus(d_positive - d_negative).

    Args:
        features: B x D pooled features before the BNNeck, not normalised.
        targets: B labels.

    Returns:
        Scalar mean over the batch.

    Raises:
        ValueError: if the shapes do not fit or the batch holds a single label.
    """
    _check(features, targets)
    distance = euclidean_distance(features)
    d_positive, d_negative = _positive_negative_distances(distance, *hardest_pairs(distance, targets)).unbind(
        dim=1
    )
    return F.softplus(d_positive - d_negative).mean()


def soft_softmax_triplet_loss(student_features: Tensor, teacher_features: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy between the teacher's T and the student's T (MMT paper, Eq. 8).

    The triplets are mined on the student's distances; the teacher's distances are read at the same index
    pairs. No gradient reaches the teacher.

    Args:
        student_features: B x D pooled features before the BNNeck, not normalised.
        teacher_features: B x D of the peer network's mean teacher on the same images.
        targets: B labels.

    Returns:
        Scalar mean over the batch.

    Raises:
        ValueError: if the shapes do not fit or the batch holds a single label.
    """
    _check(student_features, targets)
    _check(teacher_features, targets)
    distance = euclidean_distance(student_features)
    pairs = hardest_pairs(distance, targets)
    teacher_distance = euclidean_distance(teacher_features.detach())
    student = F.log_softmax(_positive_negative_distances(distance, *pairs), dim=1)
    teacher = F.softmax(_positive_negative_distances(teacher_distance, *pairs), dim=1)
    return -(teacher * student).sum(dim=1).mean()
