"""Image files of every mode become RGB tensors."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from fastreid.data import common
from fastreid.data.data_utils import read_image
from fastreid.data.transforms import ToTensor, build_transforms
from PIL import Image, ImageFile

from mmt_plugin.system.decoding import UnreadableImageError

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


def jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def huge_png() -> bytes:
    """A sound file of a few bytes, but for a header that announces 60,000 x 60,000 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", 60000, 60000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8))
UNREADABLE = {
    "truncated": jpeg(NOISE)[:500],
    "zero bytes": b"",
    "text renamed .jpg": b"this is no image\n" * 20,
    "16 bits a channel": None,
    "huge header (decompression bomb)": huge_png(),
    "large, below Pillow's own limit": None,
}


@pytest.mark.fault
@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_images_are_errors_that_name_the_file(tmp_path, observe, kind):
    path = tmp_path / "0007_c1.jpg"
    if kind.startswith("16"):
        Image.fromarray(np.full((4, 2), 60000, dtype=np.uint16)).save(path, "PNG")
    elif kind.startswith("large"):
        Image.new("1", (8000, 8000)).save(path, "PNG")
    else:
        path.write_bytes(UNREADABLE[kind])
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    with pytest.raises(UnreadableImageError, match=r"0007_c1\.jpg") as error:
        read_image(str(path))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    observe(f"image: {kind}", error.value)


@pytest.mark.fault
def test_a_missing_image_and_a_loop_of_links_are_named(tmp_path, observe):
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    for path, kind in ((tmp_path / "none.jpg", "missing"), (loop, "symbolic link to itself")):
        with pytest.raises(UnreadableImageError, match=path.name) as error:
            read_image(str(path))
        observe(f"image: {kind}", error.value)


@pytest.mark.fault
def test_unusual_images_are_read(tmp_path, observe):
    """A pixel, an animation, and a picture that its EXIF data turn."""
    white = Image.new("RGB", (1, 1), "white")
    white.save(tmp_path / "pixel.png")
    assert read_image(str(tmp_path / "pixel.png")).size == (1, 1)
    frames = [Image.new("RGB", (4, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(str(tmp_path / "moving.gif")).getpixel((0, 0)) == (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.jpg").write_bytes(jpeg(NOISE, exif=exif))
    assert read_image(str(tmp_path / "turned.jpg")).size == (40, 20)
    for kind, happened in (
        ("1 x 1 pixels", "read, resized like any other"),
        ("animated", "its first frame is read"),
        ("EXIF-rotated", "read upright"),
        ("CMYK, palette, grey, alpha, transparent palette", "read as RGB"),
    ):
        observe(f"image: {kind}", happened)
