"""Crops from a folder. Its own `query` and `gallery` sub-folders, if any, are the labelled test set."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.data.datasets.own.names import GROUPS

from .crops import GALLERY, QUERY, TRAIN, Crop

logger = logging.getLogger("fastreid.mmt.data")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# Market-1501 calls its gallery by the second name.
TEST_FOLDERS = {"query": QUERY, "gallery": GALLERY, "bounding_box_test": GALLERY}


def read_folder(folder: Path, camera_folders: bool, pattern: str, test_pattern: str) -> dict[str, list[Crop]]:
    """All images below a folder, by subset; what is known of them is read from their paths.

    Args:
        folder: is searched with all its sub-folders. Links are followed; each real folder counts once.
        camera_folders: whether the first sub-folder's name is the camera.
        pattern: DATASETS.OWN.PATTERN.
        test_pattern: DATASETS.OWN.TEST_PATTERN.

    Raises:
        FileNotFoundError: there is no such folder.
        DatasetError: it holds no image, a name tells less than a pattern wants, or cannot be read as text.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r} (folder: in DATASETS)")
    crops = {TRAIN: [], QUERY: [], GALLERY: []}
    for path in images_below(folder):
        inner = path.relative_to(folder)
        subset = TEST_FOLDERS.get(inner.parts[0], TRAIN) if len(inner.parts) > 1 else TRAIN
        if subset == TRAIN:
            told = _told(inner.as_posix(), pattern, "DATASETS.OWN.PATTERN", folder) if pattern else {}
            if camera_folders:
                told["camera"] = _first_folder(inner, folder)
        else:
            told = _told(inner.name, test_pattern, "DATASETS.OWN.TEST_PATTERN", folder / inner.parent)
        crops[subset].append(Crop(str(path), **told))
    if not any(crops.values()):
        raise DatasetError(f"{str(folder)!r} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return crops


def images_below(folder: Path) -> Iterator[Path]:
    """Image files, by their suffix, in sorted order. Other files are counted in the log; what begins with a
    dot is passed over.

    Raises:
        DatasetError: a sub-folder cannot be listed, or a name is not valid text.
    """
    others, seen = [], set()
    for directory, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        here = os.stat(directory)
        if (here.st_dev, here.st_ino) in seen:  # a link back to a folder that was here before
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            path = Path(directory, name)
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                others.append(str(path))
                continue
            _check_text(path)
            yield path
    if others:
        logger.warning(
            f"{str(folder)!r}: passed over {len(others)} files that are no images, such as {others[0]!r}"
        )


def _told(text: str, pattern: str, key: str, folder: Path) -> dict[str, str]:
    match = re.search(pattern, text)
    if match is None:
        raise DatasetError(f"{text!r} in {str(folder)!r} does not match {key}, {pattern!r}")
    return {name: value for name, value in match.groupdict().items() if name in GROUPS}


def _first_folder(inner: Path, folder: Path) -> str:
    if len(inner.parts) < 2:
        raise DatasetError(
            f"{inner.name!r} lies in {str(folder)!r} itself, so it has no camera: move it to a camera's "
            "sub-folder, or set DATASETS.OWN.CAMERA_FOLDERS False"
        )
    return inner.parts[0]


def _refuse(error: OSError) -> None:
    raise DatasetError(f"folder {error.filename!r} cannot be listed: {error.strerror}") from error


def _check_text(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DatasetError(f"the file name {os.fsencode(path)!r} is not valid UTF-8: rename it") from None
