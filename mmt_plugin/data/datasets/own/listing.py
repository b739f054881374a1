"""The image files below a folder."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mmt_plugin.data.dataset import DatasetError

logger = logging.getLogger("fastreid.mmt.data")

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def images_below(folder: Path, follow_links: bool = True) -> Iterator[Path]:
    """Image files, by their suffix, in sorted order. Other files, and what is no regular file, are counted in
    the log; what begins with a dot is passed over. Each real folder counts once.

    Args:
        folder: may be a link itself.
        follow_links: whether links to folders may lead out of this one. (A link to a file is one image.)

    Raises:
        DatasetError: a sub-folder cannot be listed, a name is not valid text, or a link leads out.
    """
    home, seen = Path(os.path.realpath(folder)), set()
    others, irregular = [], []
    for directory, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        here = os.stat(directory)
        if (here.st_dev, here.st_ino) in seen:  # a link back to a folder that was here before
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if not follow_links:
            for name in folders:
                _check_inside(Path(directory, name), home)
        for name in sorted(name for name in files if not name.startswith(".")):
            path = Path(directory, name)
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                others.append(str(path))
                continue
            _check_text(path)
            if _is_irregular(path):
                irregular.append(str(path))
                continue
            yield path
    for paths, kind in ((others, "no images"), (irregular, "no regular files")):
        if paths:
            logger.warning(
                f"{str(folder)!r}: passed over {len(paths)} files that are {kind}, such as {paths[0]!r}"
            )


def _check_inside(path: Path, home: Path) -> None:
    if not path.is_symlink():
        return
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(home):
        raise DatasetError(
            f"{str(path)!r} is a link to {str(target)!r}, out of the data set's folder: set "
            "DATASETS.OWN.FOLLOW_LINKS True if that is meant, or remove it"
        )


def _is_irregular(path: Path) -> bool:
    """Whether reading might wait for ever, as from a pipe or device. A link to nothing is an image that
    cannot be read, which DATALOADER.ON_BAD_IMAGE decides about.
    """
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _refuse(error: OSError) -> None:
    raise DatasetError(f"folder {error.filename!r} cannot be listed: {error.strerror}") from error


def _check_text(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DatasetError(f"the file name {os.fsencode(path)!r} is not valid UTF-8: rename it") from None
