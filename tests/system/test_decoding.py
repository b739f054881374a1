"""What is opened as an image, whatever it is called."""

import os
import socket

import numpy as np
import pytest
from fastreid.data.data_utils import read_image as hosts
from PIL import Image

from mmt_plugin.system.decoding import UnreadableImageError, read_image

PIXELS = np.random.default_rng(0).integers(0, 255, (8, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_the_promised_formats_are_read_by_their_content(format, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "image.jpg", format)
    assert read_image(str(tmp_path / "image.jpg")).size == (6, 8)


@pytest.mark.parametrize("format", ["EPS", "PDF", "TGA", "PCX", "ICO", "JPEG2000"])
@pytest.mark.parametrize("read", [read_image, hosts, lambda path: hosts(path, "L")])
def test_other_content_is_refused_and_starts_no_program(format, read, tmp_path, monkeypatch):
    path = tmp_path / "image.jpg"
    if format == "EPS":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    else:
        Image.fromarray(PIXELS).save(path, format)
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(UnreadableImageError, match=r"image\.jpg .*none of JPEG"):
        read(str(path))


def pipe(path):
    os.mkfifo(path)


def listening(path):
    socket.socket(socket.AF_UNIX).bind(str(path))


@pytest.mark.parametrize(
    "make",
    [pipe, listening, os.mkdir, lambda path: path.symlink_to("/dev/zero")],
    ids=["pipe", "socket", "folder", "device"],
)
def test_what_is_no_regular_file_is_refused_at_once(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "b.jpg")
    with pytest.raises(UnreadableImageError, match=r"b\.jpg is refused: it is no regular file"):
        read_image(str(tmp_path / "b.jpg"))
