"""Image files of every mode become RGB tensors."""

import numpy as np
import pytest
import torch
from fastreid.data import common
from fastreid.data.data_utils import read_image
from fastreid.data.transforms import ToTensor, build_transforms
from PIL import Image

RGB = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3) * 10


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "LA", "L", "P", "1"])
def test_every_mode_is_read_as_rgb(tmp_path, mode):
    path = str(tmp_path / "image.tif")
    image = Image.fromarray(RGB).convert(mode)
    image.save(path)
    pixels = np.asarray(read_image(path))
    assert pixels.shape == (4, 2, 3)
    assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


def test_transparent_palette_is_read_by_its_colours(tmp_path):
    path = str(tmp_path / "image.png")
    Image.fromarray(RGB).quantize(8).save(path, transparency=bytes([0, 128]))
    expected = np.asarray(Image.open(path).convert("RGBA"))[..., :3]
    assert np.array_equal(np.asarray(read_image(path)), expected)


def test_deep_images_are_refused_by_name(tmp_path):
    path = str(tmp_path / "deep.png")
    Image.fromarray(np.full((4, 2), 60000, dtype=np.uint16)).save(path)
    with pytest.raises(ValueError, match=r"deep\.png.*8 bits"):
        read_image(path)


def test_explicit_formats_and_the_datasets_reader(tmp_path):
    path = str(tmp_path / "image.png")
    Image.fromarray(RGB).save(path)
    assert np.array_equal(np.asarray(read_image(path, "BGR")), RGB[:, :, ::-1])
    assert common.read_image is read_image


@pytest.mark.parametrize(
    ("pixels", "mode", "expected"),
    [
        (RGB, "RGB", RGB.astype(np.float32)),
        (RGB[..., 0], "L", RGB[..., :1].astype(np.float32)),
        (RGB[..., 0] > 50, "1", 255.0 * (RGB[..., :1] > 50)),
        (RGB[..., 0].astype(np.uint16), "I;16", RGB[..., :1].astype(np.int16)),
        (RGB[..., 0].astype(np.int32), "I", RGB[..., :1].astype(np.int32)),
        (RGB[..., 0] / np.float32(7), "F", RGB[..., :1] / np.float32(7)),
    ],
)
def test_to_tensor(pixels, mode, expected):
    image = Image.fromarray(pixels)
    assert image.mode == mode
    tensor = ToTensor()(image)
    assert torch.equal(tensor, torch.from_numpy(expected).permute(2, 0, 1).to(tensor.dtype))
    assert tensor.dtype == (torch.from_numpy(expected).dtype if mode in ("I", "I;16") else torch.float32)


def test_affine_augmentation(cfg):
    cfg.INPUT.AFFINE.ENABLED = True
    assert build_transforms(cfg)(Image.fromarray(RGB)).shape == (3, 64, 32)
