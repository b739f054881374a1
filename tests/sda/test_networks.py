"""Generators, discriminators, the similarity network and the image pool."""

import random

import pytest
import torch

from mmt_plugin.sda.discriminator import PatchDiscriminator
from mmt_plugin.sda.generator import ResNetGenerator
from mmt_plugin.sda.pool import ImagePool
from mmt_plugin.sda.sianet import SimilarityNetwork


@pytest.mark.parametrize("size", [(32, 16), (33, 17), (35, 30), (12, 13)])
@pytest.mark.parametrize("residual", [False, True])
def test_a_translation_has_the_size_of_its_image(size, residual):
    images = torch.rand(2, 3, *size)
    out = ResNetGenerator(width=4, blocks=1, residual=residual)(images)
    assert out.shape == images.shape
    assert out.min() >= 0
    assert out.max() <= 1


def test_the_published_generator():
    """Layers, channels and initial weights of the specification: 11.4 M parameters."""
    torch.manual_seed(0)
    generator = ResNetGenerator()
    convolutions = [
        m for m in generator.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))
    ]
    channels = [(m.in_channels, m.out_channels) for m in convolutions]
    middle = [(256, 256)] * 18
    assert channels == [(3, 64), (64, 128), (128, 256), *middle, (256, 128), (128, 64), (64, 3)]
    assert all(m.bias is not None and not m.bias.any() for m in convolutions)
    assert convolutions[5].weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert sum(p.numel() for p in generator.parameters()) == 11_378_179
    assert not list(generator.buffers())
    # no running statistics


def test_images_of_a_batch_do_not_mix():
    torch.manual_seed(0)
    generator, images = ResNetGenerator(width=4, blocks=1), torch.randn(3, 3, 16, 12)
    alone = torch.cat([generator(image[None]) for image in images])
    torch.testing.assert_close(generator(images), alone)


def test_a_residual_generator_paints_over_the_image_whatever_its_light():
    """New, it returns the image with its mean and contrast taken out: the same under any light."""
    torch.manual_seed(0)
    images, generator = torch.randn(2, 3, 32, 16), ResNetGenerator(width=8, blocks=1, residual=True)
    flat = (images - images.mean(dim=(2, 3), keepdim=True)) / images.std(dim=(2, 3), keepdim=True)
    assert (generator(images) - torch.sigmoid(flat)).abs().mean() < 0.1
    torch.testing.assert_close(generator(0.3 * images - 1), generator(images), atol=1e-2, rtol=0)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_verdict_sees_a_patch(layers, field):
    """One verdict's gradient reaches exactly as many pixels as published. Without the norms, whose
    statistics are the whole image's.
    """
    torch.manual_seed(0)
    judge = PatchDiscriminator(width=2, layers=layers)
    for i, layer in enumerate(judge.layers):
        if isinstance(layer, torch.nn.InstanceNorm2d):
            judge.layers[i] = torch.nn.Identity()
    images = torch.randn(1, 3, 128, 128, requires_grad=True)
    verdicts = judge(images)
    verdicts[0, 0, verdicts.shape[2] // 2, verdicts.shape[3] // 2].backward()
    seen = images.grad.abs().sum(dim=(0, 1)) > 0
    assert (seen.any(dim=1).sum().item(), seen.any(dim=0).sum().item()) == (field, field)


def test_the_published_discriminator():
    judge = PatchDiscriminator()
    convolutions = [m for m in judge.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.out_channels, m.stride[0]) for m in convolutions] == [
        (64, 2), (128, 2), (256, 2), (512, 1), (1, 1),
    ]  # fmt: skip
    norms = [isinstance(m, torch.nn.InstanceNorm2d) for m in judge.layers]
    assert sum(norms) == 3
    assert judge(torch.randn(2, 3, 384, 128)).shape == (2, 1, 46, 14)


def test_similarity_embeddings_are_unit_vectors():
    embeddings = SimilarityNetwork(width=2, size=8)(torch.randn(3, 3, 35, 24))
    assert embeddings.shape == (3, 8)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))


def numbered(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def test_a_pool_that_fills_returns_what_it_gets():
    pool = ImagePool(4, (2, 2))
    first = numbered(1, 2, 3)
    assert torch.equal(pool(first), first)
    assert int(pool.stored) == 3


def test_a_full_pool_returns_each_image_or_a_former_one_in_its_place():
    random.seed(0)
    pool = ImagePool(5, (2, 2))
    held, replaced, new = {1, 2, 3, 4, 5}, 0, 6
    pool(numbered(*held))
    for _ in range(100):
        batch = list(range(new, new + 4))
        out = pool(numbered(*batch))[:, 0, 0, 0].int().tolist()
        for image, returned in zip(batch, out, strict=True):
            if returned != image:
                held.remove(returned)  # an earlier one, which is there no longer
                held.add(image)
                replaced += 1
        assert set(pool.images[:, 0, 0, 0].int().tolist()) == held
        new += 4
    assert 160 < replaced < 240  # of 400, with probability 1/2


def test_a_pool_of_none_returns_what_it_gets():
    images = numbered(1, 2).requires_grad_()
    out = ImagePool(0, (2, 2))(images)
    assert torch.equal(out, images)
    assert not out.requires_grad


def test_a_pool_goes_on_from_its_state():
    random.seed(1)
    pool, other = ImagePool(3, (2, 2)), ImagePool(3, (2, 2))
    pool(numbered(1, 2, 3, 4))
    other.load_state_dict(pool.state_dict())
    state = random.getstate()
    expected = pool(numbered(5, 6, 7))
    random.setstate(state)
    assert torch.equal(other(numbered(5, 6, 7)), expected)
