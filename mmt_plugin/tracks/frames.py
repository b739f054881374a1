"""Frames of a camera, one after the other: a folder of images, or a video."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from PIL import Image

from mmt_plugin.system.decoding import UnreadableImageError, read_image

from .boxes import TracksError

# Others are lists (HLS, DASH, ffconcat), with which a video has any file of this machine, or address, opened.
CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "flv", "asf")
CONTAINERS += ("mjpeg", "ogg", "mxf", "ivf", "obu", "dv", "gif")
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


def read_frames(
    source: Path, wanted: Collection[int], earliest: int = 1, first: int | None = None
) -> Iterator[tuple[int, Image.Image | None]]:
    """The wanted frames in order, RGB; None for one that cannot be read.

    Args:
        source: a folder of images, whose names end with the frame's number, or a video; of a folder without
            images its folder img1 (MOTChallenge).
        wanted: numbers, as the tracks count.
        earliest: the first frame with a box.
        first: what the tracks call the first frame. None: as the names of a folder's images say; of a video 0
            where the earliest is 0, else 1.

    Raises:
        TracksError: there is no such source, or the video cannot be opened.
    """
    if source.is_dir():
        yield from _from_folder(source, wanted, earliest, first)
    elif source.is_file():
        yield from _from_video(source, wanted, min(earliest, 1) if first is None else first)
    else:
        raise TracksError(f"there is no video or folder of frames {str(source)!r}")


def _from_folder(
    folder: Path, wanted: Collection[int], earliest: int, first: int | None
) -> Iterator[tuple[int, Image.Image | None]]:
    files = _numbered_images(folder)
    lowest = min(files)
    if first is None and earliest == 0 and lowest == 1:
        raise TracksError(
            f"the tracks begin with frame 0, the images in {str(folder)!r} with {files[1].name}: if that is "
            "the tracks' frame 0, say --first-frame 0; if the tracks count as the names do, --first-frame 1"
        )
    shift = 0 if first is None else lowest - first
    for number in sorted(wanted):
        try:
            yield number, read_image(str(files[number + shift])) if number + shift in files else None
        except UnreadableImageError:
            yield number, None


def _numbered_images(folder: Path) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        digits = re.search(r"(\d+)$", path.stem)
        if path.suffix.lower() not in IMAGES or digits is None:
            continue
        number = int(digits.group(1))
        if number in files:
            raise TracksError(
                f"{files[number].name} and {path.name} in {str(folder)!r} are both frame {number}"
            )
        files[number] = path
    if not files and (folder / "img1").is_dir():
        return _numbered_images(folder / "img1")
    if not files:
        raise TracksError(f"{str(folder)!r} holds no images whose names end with a frame number")
    return files


def _from_video(path: Path, wanted: Collection[int], first: int) -> Iterator[tuple[int, Image.Image | None]]:
    try:
        import av
    except ImportError:
        raise TracksError(
            f"reading the video {str(path)!r} needs PyAV: pip install 'mmt_plugin[video]', or give a folder "
            "of frames"
        ) from None
    missing, last = set(wanted), max(wanted, default=-1)
    try:
        with av.open(str(path), options={"format_whitelist": ",".join(CONTAINERS)}) as video:
            if not video.streams.video:
                raise TracksError(f"{str(path)!r} has no video stream")
            for number, frame in enumerate(_decoded(video), start=first):
                if number > last:
                    break
                if number in missing:
                    missing.discard(number)
                    yield number, None if frame is None else _upright(frame)
    except (av.error.FFmpegError, OSError) as error:
        raise TracksError(f"{str(path)!r} cannot be read as a video: {error}") from error
    for number in sorted(missing):
        yield number, None


def _upright(frame) -> Image.Image:
    """A frame as players and OpenCV show it, turned as the video says."""
    picture = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


def _decoded(video) -> Iterator:
    """Decoded frames; damaged packets in the middle count as a frame each."""
    import av

    for packet in video.demux(video=0):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            yield None
