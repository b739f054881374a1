"""Data sets that image translation has written: the source's people and file names, in another style.

The training images of a data set in ``<folder>/<split>/...`` are translated into
``<folder>_sda/<split>/...`` beside it (``_spgan`` with that method), and read under the source's name with
the same suffix: ``SynthPlazaSDA``, ``Market1501SPGAN``. (The VisDA-2020 sets, which are handed out
translated, too, are in `visda`.)
"""

import os
from collections.abc import Sequence
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.data.dataset import Item
from mmt_plugin.errors import MissingFileError

# The sources of the shipped recipes.
SOURCES = ("SynthPlaza", "SynthMetro", "Market1501", "DukeMTMC", "MSMT17", "VehicleID")
METHODS = ("sda", "spgan")


def split_folder(items: Sequence[Item]) -> Path:
    """The folder that holds all images, at whatever depth: ``<folder>/<split>``."""
    return Path(os.path.commonpath([os.path.dirname(item[0]) for item in items]))


def translated_folder(items: Sequence[Item], method: str) -> Path:
    """Where a set's translated images belong: ``<folder>_<method>/<split>``."""
    split = split_folder(items)
    return split.parent.with_name(f"{split.parent.name}_{method}") / split.name


def translated_items(items: Sequence[Item], method: str) -> list[Item]:
    """The same images' translations, with their identities and cameras.

    Raises:
        MissingFileError: some or all of them are missing.
    """
    source, folder = split_folder(items), translated_folder(items, method)
    moved = [(str(folder / Path(path).relative_to(source)), *labels) for path, *labels in items]
    missing = [path for path, *_ in moved if not os.path.isfile(path)]
    if missing:
        raise MissingFileError(
            f"{len(missing)} of {len(items)} translated images are missing, such as {missing[0]}: "
            f"write them with tools/translate.py (SDA.METHOD {method})"
        )
    return moved


def _translated(name: str, method: str) -> type[ImageDataset]:
    """A data set for training only that is another one's translation."""

    def initialise(self, root: str = "datasets", **kwargs: object) -> None:
        source = DATASET_REGISTRY.get(name)(root=root)
        ImageDataset.__init__(self, translated_items(source.train, method), [], [], **kwargs)

    documentation = f"{name}, translated by {method}; see `mmt_plugin.data.datasets.translated`."
    return type(
        f"{name}{method.upper()}", (ImageDataset,), {"__init__": initialise, "__doc__": documentation}
    )


for _name in SOURCES:
    for _method in METHODS:
        DATASET_REGISTRY.register(_translated(_name, _method))
