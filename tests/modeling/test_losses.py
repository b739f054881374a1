"""Losses against vectors of the published code and against slow, obvious loops."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mmt_plugin.modeling.losses import (
    hardest_triplets,
    label_smooth_cross_entropy,
    soft_cross_entropy,
    soft_softmax_triplet_loss,
    softmax_triplet,
    softmax_triplet_loss,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.as_tensor(file[key]) for key in file}


def check_loss_and_gradient(
    loss: torch.Tensor, student: torch.Tensor, expected: dict[str, torch.Tensor]
) -> None:
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected["loss"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(student.grad, expected["grad"], atol=1e-5, rtol=1e-5)


def test_soft_cross_entropy_golden():
    g = golden("soft_cross_entropy")
    student = g["student_logits"].requires_grad_()
    check_loss_and_gradient(soft_cross_entropy(student, g["teacher_logits"]), student, g)


def test_label_smooth_cross_entropy_golden():
    g = golden("label_smooth_cross_entropy")
    logits = g["logits"].requires_grad_()
    check_loss_and_gradient(label_smooth_cross_entropy(logits, g["labels"], float(g["epsilon"])), logits, g)


def test_softmax_triplet_golden():
    g = golden("softmax_triplet")
    features = g["features"].requires_grad_()
    check_loss_and_gradient(softmax_triplet_loss(features, g["labels"]), features, g)


def test_soft_softmax_triplet_golden():
    g = golden("soft_softmax_triplet")
    student = g["student_features"].requires_grad_()
    check_loss_and_gradient(
        soft_softmax_triplet_loss(student, g["teacher_features"], g["labels"]), student, g
    )


@pytest.mark.parametrize(("batch", "classes", "epsilon"), [(1, 2, 0.1), (7, 5, 0.0), (16, 33, 0.3)])
def test_label_smooth_cross_entropy_is_the_definition(batch, classes, epsilon):
    torch.manual_seed(batch)
    logits, targets = torch.randn(batch, classes), torch.randint(classes, (batch,))
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(z) for z in row))
        for k, z in enumerate(row):
            share = epsilon / classes + (1 - epsilon if k == target else 0)
            total -= share * (z - log_sum)
    assert label_smooth_cross_entropy(logits, targets, epsilon).item() == pytest.approx(
        total / batch, rel=1e-5
    )


def triplet_by_hand(student, teacher, targets):
    """Mean binary cross-entropy of the teacher's against the student's triplet probabilities, and the hard
    version.
    """
    hard, soft, n = 0.0, 0.0, len(targets)
    distance = [[(a - b).norm().item() for b in student] for a in student]
    for i in range(n):
        p = max((j for j in range(n) if targets[j] == targets[i]), key=lambda j: distance[i][j])
        q = min((j for j in range(n) if targets[j] != targets[i]), key=lambda j: distance[i][j])
        right = 1 / (1 + math.exp(distance[i][p] - distance[i][q]))
        t_p, t_q = (teacher[i] - teacher[p]).norm().item(), (teacher[i] - teacher[q]).norm().item()
        teacher_right = 1 / (1 + math.exp(t_p - t_q))
        hard -= math.log(right)
        soft -= teacher_right * math.log(right) + (1 - teacher_right) * math.log(1 - right)
    return hard / n, soft / n


@pytest.mark.parametrize(("identities", "instances", "size"), [(2, 2, 3), (3, 4, 8), (4, 1, 5), (5, 3, 17)])
def test_triplets_are_the_definition(identities, instances, size):
    torch.manual_seed(size)
    student, teacher = torch.randn(2, identities * instances, size, dtype=torch.float64).unbind()
    targets = torch.arange(identities).repeat_interleave(instances)[torch.randperm(identities * instances)]
    hard, soft = triplet_by_hand(student, teacher, targets.tolist())
    assert softmax_triplet_loss(student, targets).item() == pytest.approx(hard, rel=1e-4, abs=1e-5)
    assert soft_softmax_triplet_loss(student, teacher, targets).item() == pytest.approx(
        soft, rel=1e-4, abs=1e-5
    )


def test_losses_of_the_same_triplets_need_them_mined_once():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 12, 5).unbind()
    targets = torch.arange(4).repeat_interleave(3)
    mined = hardest_triplets(student, targets)
    assert softmax_triplet_loss(student, targets, mined) == softmax_triplet_loss(student, targets)
    apart = soft_softmax_triplet_loss(student, teacher, targets)
    assert soft_softmax_triplet_loss(student, teacher, targets, mined) == apart


def test_a_batch_without_negatives_gives_nan_where_nobody_looks():
    same = torch.ones(4, 4, dtype=torch.bool)
    assert softmax_triplet._hardest(torch.rand(4, 4), same).distances.isnan().all()
    same[0, 3] = same[3, 0] = False
    assert softmax_triplet._hardest(torch.rand(4, 4), same).distances.isfinite().all()


def test_far_triplets_do_not_overflow():
    features = torch.tensor([[0.0], [1e4], [1.0], [-1e4]], requires_grad=True)
    loss = softmax_triplet_loss(features, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss", [soft_cross_entropy, lambda s, t: soft_softmax_triplet_loss(s, t, torch.tensor([0, 0, 1, 1]))]
)
def test_no_gradient_reaches_the_teacher(loss):
    student, teacher = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_soft_losses_are_smallest_where_student_equals_teacher():
    torch.manual_seed(0)
    targets = torch.arange(4).repeat_interleave(2)
    teacher = torch.randn(8, 6)
    for loss in (soft_cross_entropy, lambda s, t: soft_softmax_triplet_loss(s, t, targets)):
        student = teacher.clone().requires_grad_()
        loss(student, teacher).backward()
        assert student.grad.abs().max() < 1e-6


@pytest.mark.parametrize(
    "call",
    [
        lambda: label_smooth_cross_entropy(torch.zeros(3, 4), torch.zeros(2, dtype=torch.long)),
        lambda: soft_cross_entropy(torch.zeros(3, 4), torch.zeros(3, 5)),
        lambda: softmax_triplet_loss(torch.zeros(3, 4, 1), torch.zeros(3)),
        lambda: soft_softmax_triplet_loss(torch.zeros(3, 4), torch.zeros(2, 4), torch.tensor([0, 0, 1])),
        lambda: softmax_triplet_loss(torch.randn(4, 2), torch.zeros(4)),
    ],
)
def test_wrong_shapes_and_single_identities_are_refused(call):
    with pytest.raises(ValueError, match=r"expected|negative"):
        call()
