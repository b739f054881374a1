"""Soft classification loss: a teacher's class probabilities as labels. Shapes: B batch, C live classes."""

import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Mean cross-entropy between the teacher's and the student's class probabilities (MMT paper, Eq. 5).

    No temperature; no gradient reaches the teacher.

    Args:
        student_logits: B x C, floating point.
        teacher_logits: B x C, of the peer network's mean teacher on the same images.

    Returns:
        Scalar mean over the batch.

    Raises:
        ValueError: if the shapes differ.
    """
    if student_logits.dim() != 2 or student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"expected two B x C tensors, got student {tuple(student_logits.shape)} and teacher "
            f"{tuple(teacher_logits.shape)}"
        )
    teacher_probabilities = F.softmax(teacher_logits.detach().float(), dim=1)
    return F.cross_entropy(student_logits.float(), teacher_probabilities)
