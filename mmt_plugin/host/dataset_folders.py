"""Data set folders: where they are, what a missing one says, and an order that does not depend on the file
system.
"""

import numbers
import os
import random
from functools import wraps

from fastreid.data.datasets import (
    bases,
    market1501,
    msmt17,
    vehicleid,
    wildtracker,
)

from . import parts
from .patching import Overlay, replace

_SPLIT_SEED = 0
# Market-1501's folder, and what lies in the root in the host's deprecated layout.
_MARKET_FOLDERS = ("Market-1501-v15.09.15", "bounding_box_train")


def sort_items() -> None:
    """Without it images are listed in the file system's order: seeded runs differ between machines, and the
    ranks of one run index different lists.
    """

    def make(init):
        @wraps(init)
        def initialise(self, train, query, gallery, *args, **kwargs):
            name = type(self).__name__
            query, gallery = (_in_path_order(items, name) for items in (query, gallery))
            init(self, _in_path_order(train), query, gallery, *args, **kwargs)

        return initialise

    replace(bases.Dataset, "__init__", make)


def _in_path_order(items, evaluated_by: str = ""):
    """A list of (path, id, camera), or a function that makes one, sorted by path. Half of the host's data
    sets append lists, which do not compare with the other half's tuples.

    Args:
        items: the list, or the function.
        evaluated_by: name of the data set whose query or gallery they are, which needs whole numbers.
    """
    if callable(items):
        return lambda: _in_path_order(items(), evaluated_by)
    ordered = sorted(map(tuple, items), key=lambda item: item[0])
    for path, *names in ordered if evaluated_by else ():
        text = next((name for name in names if not isinstance(name, numbers.Integral)), None)
        if text is not None:
            raise parts.given.DataError(
                f"{evaluated_by}: query and gallery images need whole numbers for identity and camera, but "
                f"{path!r} has {text!r}: number them where the data set is read"
            )
    return ordered


def name_the_missing_folder() -> None:
    """Without it a missing data set folder says at most '"datasets/veri" is not found', MSMT17's not even
    which, and Market-1501's that of a layout that is deprecated.
    """
    replace(bases.Dataset, "check_before_run", lambda _: _check_before_run)
    versions = " or ".join(msmt17.VERSION_DICT)
    replace(msmt17.MSMT17, "__init__", _with_folder_check(tuple(msmt17.VERSION_DICT), versions))
    replace(market1501.Market1501, "__init__", _with_folder_check(_MARKET_FOLDERS, _MARKET_FOLDERS[0]))
    folder = wildtracker.WildTrackCrop.dataset_dir
    replace(wildtracker.WildTrackCrop, "__init__", _with_folder_check((folder,), folder))


def _check_before_run(self, required_files) -> None:
    """Check that files or folders of a data set exist.

    Raises:
        MissingFileError: names what is missing and how to point fastreid to it.
    """
    for path in [required_files] if isinstance(required_files, str) else required_files:
        if not os.path.exists(path):
            raise _missing(type(self).__name__, path)


def _with_folder_check(folders: tuple[str, ...], description: str):
    def make(init):
        @wraps(init)
        def initialise(self, root="datasets", **kwargs):
            if not any(os.path.exists(os.path.join(root, folder)) for folder in folders):
                raise _missing(type(self).__name__, os.path.join(root, description))
            init(self, root, **kwargs)

        return initialise

    return make


def _missing(dataset: str, path: str) -> Exception:
    return parts.given.MissingFileError(
        f"{dataset} needs {path!r}, which does not exist: "
        "set the environment variable FASTREID_DATASETS to the folder that holds your data sets"
    )


def split_vehicleid_reproducibly() -> None:
    """Without it VehicleID's test list is split into query and gallery anew, from the process's global
    generator, each time it is built: every evaluation has another split, and every rank its own.
    """

    def shuffle(items: list) -> None:
        random.Random(_SPLIT_SEED).shuffle(items)

    vehicleid.random = Overlay(random, shuffle=shuffle)


REPAIRS = (sort_items, name_the_missing_folder, split_vehicleid_reproducibly)
