"""Copy a data set's training images into a folder, under numbers in random order: what is left are pictures.

    python tools/strip_labels.py SynthMetro crops

To try adaptation to own, unlabelled crops with a data set whose labels are known, and held back until the
end.
"""

import argparse
import random
import shutil
from pathlib import Path


def strip_labels(paths: list[str], folder: Path, seed: int = 1) -> int:
    """Copy image files as 000000.jpg, 000001.jpg, ... in random order; modification times are not copied.

    Args:
        paths: of the images.
        folder: to copy to; is made.
        seed: of the order.

    Returns:
        The number of images.

    Raises:
        FileExistsError: the folder holds something already.
    """
    prepare_folder(folder)
    order = sorted(paths)
    random.Random(seed).shuffle(order)
    for number, path in enumerate(order):
        shutil.copyfile(path, folder / f"{number:06d}{Path(path).suffix.lower()}")
    return len(order)


def prepare_folder(folder: Path) -> None:
    """Make an empty folder, or refuse one that holds something."""
    from mmt_plugin.system.files import require_folder

    require_folder(folder, "the folder for the copies")
    if any(folder.iterdir()):
        raise FileExistsError(f"{str(folder)!r} is not empty: name a new folder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="registered name, found below FASTREID_DATASETS")
    parser.add_argument("folder", type=Path, help="new folder for the copies")
    parser.add_argument("--seed", type=int, default=1, help="of their order")


def run(arguments: argparse.Namespace) -> None:
    from mmt_plugin.data.items import training_items

    prepare_folder(arguments.folder)  # before a data set is drawn
    paths = [item[0] for item in training_items([arguments.dataset])]
    count = strip_labels(paths, arguments.folder, arguments.seed)
    print(f"{count} images in {arguments.folder}")
