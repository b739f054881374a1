"""Translation losses against slow, obvious loops and values worked out by hand."""

import math

import pytest
import torch

from mmt_plugin.sda.losses import (
    adversarial_loss,
    contrastive_loss,
    discriminator_loss,
    generator_similarity_loss,
    network_similarity_loss,
    reconstruction_loss,
    relation_consistency_loss,
)


def test_adversarial_loss_by_hand():
    verdicts = torch.tensor([[[[1.0, 0.0], [3.0, -1.0]]]])
    assert adversarial_loss(verdicts).item() == (0 + 1 + 4 + 4) / 4


def test_discriminator_loss_by_hand():
    real, fake = torch.tensor([[[[1.0, 0.5]]]]), torch.tensor([[[[2.0, 0.0]]], [[[1.0, 1.0]]]])
    assert discriminator_loss(real, fake).item() == pytest.approx(0.5 * (0.25 / 2 + (4 + 1 + 1) / 4))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 5, 2)])
def test_adversarial_losses_are_least_squares(shape):
    torch.manual_seed(0)
    real, fake = torch.randn(2, *shape, dtype=torch.float64).unbind()
    count = math.prod(shape)
    to_one = sum((v - 1) ** 2 for v in real.flatten().tolist()) / count
    to_zero = sum(v**2 for v in fake.flatten().tolist()) / count
    assert adversarial_loss(real).item() == pytest.approx(to_one)
    assert discriminator_loss(real, fake).item() == pytest.approx((to_one + to_zero) / 2)


def test_reconstruction_loss_is_the_mean_difference():
    torch.manual_seed(1)
    a, b = torch.randn(2, 2, 3, 5, 4, dtype=torch.float64).unbind()
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    assert reconstruction_loss(a, b).item() == pytest.approx(sum(abs(x - y) for x, y in pairs) / len(pairs))
    with pytest.raises(ValueError, match="one shape"):
        reconstruction_loss(a, b[:1])


def relation_by_hand(translated, source, identities):
    """Binary cross-entropy between the triplet probabilities of the source and of the translations; pairs are
    the translations' hardest.
    """
    total = 0.0
    for i, anchor in enumerate(translated):
        near = [(anchor - other).norm().item() for other in translated]
        p = max((j for j, pid in enumerate(identities) if pid == identities[i]), key=lambda j: near[j])
        n = min((j for j, pid in enumerate(identities) if pid != identities[i]), key=lambda j: near[j])
        after = math.exp(near[n]) / (math.exp(near[p]) + math.exp(near[n]))
        d_p, d_n = ((source[i] - source[j]).norm().item() for j in (p, n))
        before = math.exp(d_n) / (math.exp(d_p) + math.exp(d_n))
        total -= before * math.log(after) + (1 - before) * math.log(1 - after)
    return total / len(translated)


@pytest.mark.parametrize(("people", "instances", "size"), [(2, 2, 3), (4, 2, 16), (3, 3, 5)])
def test_relation_consistency_is_the_definition(people, instances, size):
    torch.manual_seed(size)
    translated, source = torch.randn(2, people * instances, size, dtype=torch.float64).unbind()
    identities = torch.arange(people).repeat_interleave(instances)[torch.randperm(people * instances)]
    translated.requires_grad_()
    source.requires_grad_()
    loss = relation_consistency_loss(translated, source, identities)
    expected = relation_by_hand(translated.detach(), source.detach(), identities.tolist())
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert source.grad is None
    assert translated.grad.abs().sum() > 0


def test_contrastive_loss_by_hand():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    b = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    assert contrastive_loss(a, b, True, 2.0).item() == pytest.approx((0 + 4 + 2) / 3)
    expected = (2**2 + 0 + (2 - math.sqrt(2)) ** 2) / 3
    assert contrastive_loss(a, b, False, 2.0).item() == pytest.approx(expected, rel=1e-5)
    near = ((1 - 0) ** 2 + 0 + 0) / 3  # beyond the margin nothing pushes
    assert contrastive_loss(a, b, False, 1.0).item() == pytest.approx(near, rel=1e-5)


def test_equal_embeddings_have_a_finite_gradient():
    a = torch.tensor([[1.0, 0.0]], requires_grad=True)
    contrastive_loss(a, a.detach().clone(), False, 2.0).backward()
    assert a.grad.isfinite().all()


def test_similarity_losses_weigh_their_pairs():
    torch.manual_seed(3)
    source, target, fake_source, fake_target = torch.nn.functional.normalize(torch.randn(4, 3, 8), dim=2)

    def pull(a, b):
        return sum((x - y).norm().item() ** 2 for x, y in zip(a, b, strict=True)) / len(a)

    def push(a, b):
        return sum(max(0, 1.5 - (x - y).norm().item()) ** 2 for x, y in zip(a, b, strict=True)) / len(a)

    positive = pull(source, fake_target) + pull(target, fake_source)
    apart = push(fake_target, target) + push(fake_source, source)
    images = (source, target, fake_source, fake_target)
    assert generator_similarity_loss(*images, 1.5).item() == pytest.approx((positive + apart / 2) / 4)
    network = (positive + 2 * push(source, target)) / 3
    assert network_similarity_loss(*images, 1.5).item() == pytest.approx(network)


def test_embeddings_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="B x D"):
        contrastive_loss(torch.zeros(3, 4), torch.zeros(1, 4), True, 2.0)
