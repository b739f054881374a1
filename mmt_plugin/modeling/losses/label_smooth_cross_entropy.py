"""Cross-entropy with label smoothing. Shapes: B batch, C live classes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def label_smooth_cross_entropy(logits: Tensor, targets: Tensor, epsilon: float = 0.1) -> Tensor:
    """Mean cross-entropy against targets smoothed over all C live classes.

    The true class gets 1 - epsilon + epsilon / C, every other class epsilon / C, as in the published MMT code
    (fastreid's own smoothing spreads epsilon over the C - 1 other classes).

    Args:
        logits: B x C, floating point.
        targets: B class indices in [0, C).
        epsilon: smoothing, in [0, 1).

    Returns:
        Scalar mean over the batch.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if logits.dim() != 2 or targets.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits B x C and B targets, got {tuple(logits.shape)} and {tuple(targets.shape)}"
        )
    return F.cross_entropy(logits.float(), targets.to(torch.long), label_smoothing=epsilon)
