"""File names and lists of data sets: read to the last digit, or refused by name."""

import glob
import io
import logging
import os
import re
import sys
from functools import wraps

from fastreid.data.datasets import (
    DATASET_REGISTRY,
    cuhk_sysu,
    dukemtmcreid,
    market1501,
    veri,
)

from . import parts
from .patching import Overlay, replace

logger = logging.getLogger("fastreid.data.datasets")

# <identity>_c<camera>, at the start of a name or behind a prefix that ends in "_".
_IDENTITY_AND_CAMERA = re.compile(r"(?:^|_)(-?\d+)_c(\d+)")
_JUNK = -1
_OTHER_IMAGES = (".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# What the host's loops call the line or file that they are at.
_LOOP_VARIABLES = ("line", "img_info", "img_path", "img_name", "path", "pid_dir", "file_path")


def read_every_digit() -> None:
    """Without it Market-1501's and DukeMTMC-reID's names are cut after one digit of the camera, so that
    cameras 11 and 15 are camera 1; more identities or cameras than the published sets have are a bare
    AssertionError; VeRi reads junk, -1, as identity 1; and a parent folder named `data_12_c3` gives every
    image identity 12 and camera 3.
    """
    for dataset in (market1501.Market1501, dukemtmcreid.DukeMTMC, veri.VeRi):
        replace(dataset, "process_dir", lambda _: _process_dir)
    cuhk_sysu.re = Overlay(re, compile=_FileNamePattern)


def _process_dir(self, dir_path: str, is_train: bool = True) -> list[tuple]:
    """(path, identity, camera from 0) of each .jpg file of a folder, junk left out.

    Raises:
        DataError: naming a file whose name does not tell them.
    """
    _tell_others(dir_path)
    items = []
    for path in glob.glob(os.path.join(glob.escape(dir_path), "*.jpg")):
        match = _IDENTITY_AND_CAMERA.search(os.path.basename(path))
        if match is None:
            raise parts.given.DataError(
                f"{path}: the file name lacks <identity>_c<camera>, such as 0002_c1, which this data set's "
                "names have"
            )
        identity, camera = int(match[1]), int(match[2]) - 1
        if identity == _JUNK:
            continue
        if is_train:
            identity, camera = f"{self.dataset_name}_{identity}", f"{self.dataset_name}_{camera}"
        items.append((path, identity, camera))
    return items


def _tell_others(folder: str) -> None:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    others = [name for name in names if _is_other_image(name)]
    if others:
        logger.warning(
            f"{folder!r}: passed over {len(others)} images whose names do not end in .jpg, such as "
            f"{others[0]!r}"
        )


def _is_other_image(name: str) -> bool:
    suffix = os.path.splitext(name)[1]
    return suffix.lower() in _OTHER_IMAGES or (suffix.lower() == ".jpg" and suffix != ".jpg")


class _FileNamePattern:
    """A compiled pattern that is searched for in the last part of a path."""

    def __init__(self, pattern: str):
        self._pattern = re.compile(pattern)

    def search(self, path: str) -> re.Match:
        """Raises DataError, naming the file, where the host would fail on a missing match."""
        match = self._pattern.search(os.path.basename(path))
        if match is None:
            raise parts.given.DataError(
                f"{path}: the file name lacks {self._pattern.pattern!r}, which this data set's names have"
            )
        return match


def pass_over_empty_lines() -> None:
    """Without it an empty line in a list, most often the last, is an error that names neither line nor file,
    and a byte order mark is a part of the first name.
    """
    for name in ("msmt17", "vehicleid", "veriwild", "AirportALERT"):
        sys.modules[f"fastreid.data.datasets.{name}"].open = _open_list


def _open_list(path: str, mode: str = "r") -> io.StringIO:
    try:
        with open(path, mode, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except FileNotFoundError as error:
        raise parts.given.MissingFileError(f"there is no list {path!r}, which this data set needs") from error
    except UnicodeDecodeError as error:
        raise parts.given.DataError(f"{path!r} is no list in UTF-8: {error}") from error
    return io.StringIO("".join(f"{line}\n" for line in lines if line))


def name_what_cannot_be_parsed() -> None:
    """Without it a file or line that is not named as a data set's are is an AssertionError, IndexError,
    KeyError or ValueError that does not say which it is.
    """
    for dataset in list(DATASET_REGISTRY._obj_map.values()):
        for name, method in list(vars(dataset).items()):
            if name.startswith("process_") and callable(method):
                replace(dataset, name, _naming_the_culprit)


def _naming_the_culprit(method):
    @wraps(method)
    def process(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except (AssertionError, IndexError, KeyError, ValueError) as error:
            if isinstance(error, parts.given.DataError):
                raise
            at = _loop_variable(error, method.__code__) or ", ".join(map(str, args))
            name, reason = type(self).__name__, f"{type(error).__name__} {error}".strip()
            raise parts.given.DataError(
                f"{name} cannot make sense of {at!r}, which is not written as this data set's files and "
                f"lists are ({reason}): mend or remove it"
            ) from error

    return process


def _loop_variable(error: Exception, code) -> str | None:
    """The file or line that a method of the host was at when it failed."""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code is code:
            found = (step.tb_frame.f_locals.get(name) for name in _LOOP_VARIABLES)
            return next((value for value in found if isinstance(value, str)), None)
        step = step.tb_next
    return None


REPAIRS = (read_every_digit, pass_over_empty_lines, name_what_cannot_be_parsed)
