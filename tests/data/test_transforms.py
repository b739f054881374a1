"""Views of one image: resized once, augmented apart, reproducible."""

import random

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from PIL import Image

from mmt_plugin.data.transforms import RandomErasing, build_train_transform, seeded


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(256, size=(90, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_views_have_the_network_s_size_and_differ(tiny_config, image):
    transform = build_train_transform(tiny_config(), num_views=2)
    views = transform(image)
    assert views.shape == (2, 3, 64, 32)
    assert not torch.equal(views[0], views[1])
    assert views.max() > 1  # pixels in 0-255


def test_the_resize_is_shared(tiny_config, image, monkeypatch):
    transform = build_train_transform(tiny_config(), num_views=3)
    calls = []
    resize = transform.resize
    transform.resize = lambda im: calls.append(im) or resize(im)
    transform(image)
    assert len(calls) == 1


def test_one_view_equals_the_host_s_transform(tiny_config, image):
    from fastreid.data.transforms import build_transforms

    cfg = tiny_config(INPUT__REA__VARIANT="host")
    with seeded(5):
        ours = build_train_transform(cfg, num_views=1)(image)[0]
    with seeded(5):
        theirs = build_transforms(cfg, is_train=True)(image)
    assert torch.equal(ours, theirs)


def test_erasing_as_published():
    """Area up to 40 %, uniform aspect ratio, given fill, half of the images untouched."""
    random.seed(0)
    erase = RandomErasing(0.5, [1.0, 2.0, 3.0])
    areas, aspects, untouched = [], [], 0
    for _ in range(2000):
        image = erase(torch.zeros(3, 256, 128))
        if not image.any():
            untouched += 1
            continue
        rows, columns = image[0].nonzero(as_tuple=True)
        height, width = (int(x.max() - x.min()) + 1 for x in (rows, columns))
        assert (image[:, rows, columns] == torch.tensor([[1.0], [2.0], [3.0]])).all()
        assert len(rows) == height * width
        areas.append(height * width / (256 * 128))
        aspects.append(height / width)
    assert 900 < untouched < 1100
    assert min(areas) == pytest.approx(0.02, abs=0.005)
    assert max(areas) == pytest.approx(0.4, abs=0.01)
    # Uniform in 0.3 .. 3.33 up to the boxes that are too wide for the image; log-uniform would have its
    # median at 1.
    assert 1.5 < np.median(aspects) < 2.3


def test_seeded_is_reproducible_and_leaves_no_trace():
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    with seeded(2**61 + 7):
        first = random.random(), np.random.rand(), torch.rand(1)
    with seeded(2**61 + 7):
        assert (random.random(), np.random.rand(), torch.rand(1)) == first
    with seeded(8):
        assert random.random() != first[0]
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])


def test_autoaugment_as_published_or_the_hosts(tiny_config):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 40, 3), dtype=np.uint8))
    settings = {"INPUT__AUTOAUG__ENABLED": True, "INPUT__AUTOAUG__PROB": 1.0}
    published = build_train_transform(tiny_config(**settings), 1)
    first = published.augment.transforms[0]
    assert isinstance(first, T.RandomApply)
    assert first.p == 1
    augment = first.transforms[0]
    assert isinstance(augment, T.AutoAugment)
    assert augment.policy == T.AutoAugmentPolicy.IMAGENET
    assert augment.fill == [128.0] * 3
    host = build_train_transform(tiny_config(INPUT__AUTOAUG__VARIANT="host", **settings), 1)
    assert not isinstance(host.augment.transforms[0].transforms[0], T.AutoAugment)
    views = []
    for transform in (published, host):
        for seed in range(5):
            with seeded(seed):
                views.append(transform(image))
    assert all(view.shape == (1, 3, 64, 32) for view in views)
    assert not any(torch.equal(views[0], view) for view in views[1:])
