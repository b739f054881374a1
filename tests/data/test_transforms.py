"""Views of one image: read and resized once, augmented apart, reproducible, and the host's to the bit."""

import random

import numpy as np
import pytest
import torch
import torchvision.transforms as T
from fastreid.data.transforms import build_transforms
from PIL import Image
from scipy import stats

from mmt_plugin.data.build import train_images
from mmt_plugin.data.erasing import RandomErasing, TorchvisionErasing, erase
from mmt_plugin.data.items import training_items
from mmt_plugin.data.transforms import build_test_transform, build_train_transform, seeded


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(256, size=(90, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def views_of(image, transform, value):
    """What the network is shown of an image."""
    if transform.resize is not None:
        image = transform.resize(image)
    sample = transform(image)
    return erase(sample["images"][None], sample["erased"][None], value)[0]


def test_views_are_bytes_of_the_network_s_size_and_differ(tiny_config, image):
    transform = build_train_transform(tiny_config(), num_views=2)
    sample = transform(transform.resize(image))
    assert sample["images"].shape == (2, 3, 64, 32)
    assert sample["images"].dtype == torch.uint8
    assert sample["erased"].shape == (2, 4)
    assert not torch.equal(*sample["images"])


def test_all_views_share_one_decoding_and_one_resize(tiny_config, monkeypatch):
    cfg = tiny_config()
    images = train_images(cfg, training_items(cfg.DATASETS.TARGETS), num_views=3)
    calls = []
    for name in ("mmt_plugin.data.unreadable.read_image", "torchvision.transforms.Resize.forward"):
        module, _, function = name.rpartition(".")
        owner = T.Resize if function == "forward" else __import__(module, fromlist=[function])
        original = getattr(owner, function)
        monkeypatch.setattr(
            owner, function, lambda *args, f=original, n=function: calls.append(n) or f(*args)
        )
    assert images[3, 7]["images"].shape == (3, 3, 64, 32)
    assert calls == ["read_image", "forward"]


AUGMENTATIONS = {
    "as published": {},
    "torchvision's erasing": {"INPUT__REA__PROB": 1.0},
    "no padding": {"INPUT__PADDING__ENABLED": False},
    "no flip": {"INPUT__FLIP__ENABLED": False},
    "padding edge": {"INPUT__PADDING__MODE": "edge"},
    "padding reflect": {"INPUT__PADDING__MODE": "reflect"},
    "padding symmetric": {"INPUT__PADDING__MODE": "symmetric"},
    "colour jitter": {"INPUT__CJ__ENABLED": True, "INPUT__CJ__PROB": 0.8},
    "affine": {"INPUT__AFFINE__ENABLED": True},
    "AugMix": {"INPUT__AUGMIX__ENABLED": True, "INPUT__AUGMIX__PROB": 0.5},
    "resized crop": {"INPUT__CROP__ENABLED": True, "INPUT__CROP__SIZE": [64, 32]},
    "fastreid's AutoAugment": {"INPUT__AUTOAUG__ENABLED": True, "INPUT__AUTOAUG__VARIANT": "host"},
    "random patches": {"INPUT__RPT__ENABLED": True, "INPUT__RPT__PROB": 0.5},
    "everything": {
        f"INPUT__{step}__ENABLED": True for step in ("CJ", "AFFINE", "AUGMIX", "CROP", "AUTOAUG", "RPT")
    }
    | {"INPUT__AUTOAUG__VARIANT": "host", "INPUT__CROP__SIZE": [64, 32]},
}


@pytest.mark.parametrize("settings", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_every_pixel_is_the_host_s(tiny_config, image, settings):
    """With the same random numbers. Patches are only pasted once 100 have been collected."""
    cfg = tiny_config(
        **{
            "INPUT__REA__VARIANT": "host",
            "INPUT__REA__ENABLED": True,
            "INPUT__FLIP__ENABLED": True,
            **settings,
        }
    )
    ours, theirs = build_train_transform(cfg, num_views=1), build_transforms(cfg, is_train=True)
    changes = set()
    for seed in range(130 if cfg.INPUT.RPT.ENABLED else 25):
        with seeded(seed):
            view = views_of(image, ours, cfg.INPUT.REA.VALUE)[0]
        with seeded(seed):
            expected = theirs(image)
        assert torch.equal(view, expected.float())
        changes.add(float(view.sum()))
    assert len(changes) > 1 or not cfg.INPUT.PADDING.ENABLED


def test_the_test_transform_is_the_host_s_in_bytes(tiny_config, image):
    for settings in ({}, {"INPUT__CROP__ENABLED": True, "INPUT__CROP__SIZE": [48, 24]}):
        cfg = tiny_config(**settings)
        resize, transform = build_test_transform(cfg)
        ours = transform(resize(image))
        assert ours.dtype == torch.uint8
        assert torch.equal(ours.float(), build_transforms(cfg, is_train=False)(image))


def drawn(view):
    """Crop offsets and flip of a view of an image whose pixels tell their row and column."""
    row, column, following = int(view[0, 32, 16]), int(view[1, 32, 16]), int(view[1, 32, 17])
    flipped = following < column
    return row - 33 + 10, column - (15 if flipped else 16) - 1 + 10, flipped


def test_crops_and_flips_are_distributed_as_the_host_s(tiny_config):
    cfg = tiny_config(INPUT__REA__ENABLED=False, INPUT__PADDING__SIZE=10)
    pixels = np.zeros((64, 32, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(1, 65)[:, None], np.arange(1, 33)
    image = Image.fromarray(pixels)
    ours, theirs = build_train_transform(cfg, num_views=2), build_transforms(cfg, is_train=True)
    torch.manual_seed(0)
    views = [[drawn(view) for view in ours(image)["images"]] for _ in range(2000)]
    host = [drawn(theirs(image)) for _ in range(2000)]
    for draws in (host, *zip(*views, strict=True)):
        tops, lefts, flips = np.array(draws).T
        for offsets in (tops, lefts):
            assert stats.chisquare(np.bincount(offsets, minlength=21)).pvalue > 1e-3
        assert stats.binomtest(int(flips.sum()), len(flips), cfg.INPUT.FLIP.PROB).pvalue > 1e-3
    first, second = np.array(views).transpose(1, 2, 0)
    for values, others in zip(first, second, strict=True):  # views know nothing of each other
        assert stats.spearmanr(values, others).pvalue > 1e-3


def test_torchvision_s_erasing_is_distributed_as_the_host_s(tiny_config):
    """Share of images, area, aspect ratio and place."""
    image = torch.ones(3, 64, 32)
    ours, theirs = TorchvisionErasing(0.5, value=[0.0] * 3), T.RandomErasing(0.5, value=[0.0] * 3)
    torch.manual_seed(0)
    drawn = np.array([ours.draw(image) for _ in range(2000)])
    hosts = np.array([_hole(theirs(image)) for _ in range(2000)])
    erased, hosts_erased = drawn[drawn[:, 2] > 0], hosts[hosts[:, 2] > 0]
    for rectangles in (erased, hosts_erased):
        assert stats.binomtest(len(rectangles), 2000, 0.5).pvalue > 1e-3
    for measure in (
        lambda r: r[:, 2] * r[:, 3],
        lambda r: r[:, 2] / r[:, 3],
        lambda r: r[:, 0],
        lambda r: r[:, 1],
    ):
        assert stats.ks_2samp(measure(erased), measure(hosts_erased)).pvalue > 1e-3


def _hole(image):
    rows, columns = (image[0] == 0).nonzero(as_tuple=True)
    if not len(rows):
        return 0, 0, 0, 0
    top, left = int(rows.min()), int(columns.min())
    return top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left


def test_nothing_is_erased_where_nothing_fits():
    """torchvision gives up after 10 tries: of a row of pixels nothing that large can be erased."""
    image = torch.ones(3, 1, 500)
    assert TorchvisionErasing(1.0, value=[0.0] * 3).draw(image) == (0, 0, 0, 0)
    assert RandomErasing(1.0, [0.0] * 3).draw(image) == (0, 0, 0, 0)


def test_erasing_fills_the_drawn_rectangles_of_bytes_with_any_value():
    images = torch.full((2, 2, 3, 8, 6), 7, dtype=torch.uint8)
    rectangles = torch.tensor([[[1, 2, 3, 4], [0, 0, 0, 0]], [[0, 0, 0, 0], [7, 5, 1, 1]]])
    erased = erase(images, rectangles, [0.25, 1.5, 2.75])
    expected = images.float()
    for b in range(2):
        for v in range(2):
            top, left, height, width = rectangles[b, v].tolist()
            for row in range(top, top + height):
                for column in range(left, left + width):
                    expected[b, v, :, row, column] = torch.tensor([0.25, 1.5, 2.75])
    assert torch.equal(erased, expected)
    assert (images == 7).all()


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
    assert published.resize is None
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
                views.append(transform(image)["images"])
    assert all(view.shape == (1, 3, 64, 32) for view in views)
    assert not any(torch.equal(views[0], view) for view in views[1:])
