"""What a configuration asks of its data sets, checked before anything is trained.

Data sets are listed, but no image is opened, and the built-in world is not drawn.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.config.architecture import MMT, SDA, is_a
from mmt_plugin.errors import DataError, UserError
from mmt_plugin.synthetic import only_looking
from mmt_plugin.synthetic.world_datasets import SyntheticDataset

from .build import epoch_length
from .dataset import DatasetError, Item
from .datasets import own
from .items import build_dataset, exclusive_tracklets, items_of, training_tracklets
from .named import NAMES, SOURCE_NAMES, TARGETS, TESTS, named_sets


def check_sets(cfg: CfgNode, training: bool = True) -> None:
    """Check every data set that a command will read: that it is there, can be listed, and has what the keys
    ask of it. A mistake then ends the command at once, and not after the source models.

    Args:
        cfg: what `config.check_config` has accepted. Its own data sets are registered here.
        training: whether it will be trained, and not only evaluated.

    Raises:
        UserError: naming the key and the set.
    """
    own.configure(cfg)
    for key, names in named_sets(cfg).items():
        for name in names:
            with _blamed_on(key):
                DATASET_REGISTRY.get(name)
    with only_looking():
        if training:
            sets = _trained_on(cfg)
            for key, names in sets.items():
                with _blamed_on(key):
                    items = check_training_sets(cfg, key, names)
                    if key == next(iter(sets)):
                        epoch_length(cfg, len(items))
        check_test_sets(cfg.DATASETS.TESTS)
        if cfg.TEST.PRECISE_BN.ENABLED:
            with _blamed_on("TEST.PRECISE_BN.DATASET"):
                items_of([build_dataset(cfg.TEST.PRECISE_BN.DATASET)])


@contextmanager
def _blamed_on(key: str) -> Iterator[None]:
    """Say which key named a set, after what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{error} ({key})") from error


def _trained_on(cfg: CfgNode) -> dict[str, Sequence[str]]:
    """The sets whose training images a run will read, its source stages included; first those whose number
    tells the length of an epoch.
    """
    names, targets = cfg.DATASETS.NAMES, cfg.DATASETS.TARGETS
    if not is_a(cfg, MMT):  # translation, or a recipe of fastreid's own
        return {NAMES: names, TARGETS: targets} if is_a(cfg, SDA) else {NAMES: names}
    if cfg.PSEUDO_LABELS.METHOD == "ground_truth":
        return {NAMES: names, TARGETS: targets} if cfg.MMT.TARGET_BN else {NAMES: names}
    sets = {TARGETS: targets}
    if cfg.MMT.JOINT.ENABLED:
        sets[NAMES] = names
    if cfg.MMT.SOURCE.PRETRAIN and not cfg.MMT.WEIGHTS:
        named = named_sets(cfg)
        key = SOURCE_NAMES if SOURCE_NAMES in named else NAMES
        sets[key] = named[key]
    return sets


def check_training_sets(cfg: CfgNode, key: str, names: Sequence[str]) -> list[Item]:
    """Training images of sets, refused where they cannot be used as DATASETS.TARGETS, or else as the labelled
    source, or where more files are missing than may be skipped.

    Raises:
        DatasetError: naming a set and what it lacks.
    """
    datasets = [build_dataset(name) for name in names]
    items = items_of(datasets)
    if key == TARGETS:
        check_target(cfg, items)
    else:
        check_identities(datasets)
    missing = _missing_files(datasets, items)
    skip = cfg.DATALOADER.ON_BAD_IMAGE == "skip"
    if len(missing) > (cfg.DATALOADER.MAX_BAD_IMAGES * len(items) if skip else 0):
        raise DatasetError(
            f"{', '.join(names)} has {len(items)} training images, of which {len(missing)} are not there, "
            f"such as {missing[0]!r}{_hint(missing[0])}: correct the list, or set DATALOADER.ON_BAD_IMAGE "
            "skip and MAX_BAD_IMAGES"
        )
    return items


def _missing_files(datasets: Sequence[ImageDataset], items: Sequence[Item]) -> list[str]:
    """Images that a list, an own or a published one, names and that are not there. The built-in world is
    drawn later.
    """
    if any(isinstance(dataset, SyntheticDataset) for dataset in datasets):
        return []
    return [path for path, *_ in items if not os.path.isfile(path)]


def _hint(path: str) -> str:
    return " (written with \\; folders are separated by / here)" if "\\" in path and os.sep == "/" else ""


def check_target(cfg: CfgNode, items: Sequence[Item]) -> None:
    """Refuse target images of which no clusters can be made, or which lack what a key compares.

    Raises:
        DatasetError: naming the key.
    """
    labels, targets = cfg.PSEUDO_LABELS, ", ".join(cfg.DATASETS.TARGETS)
    if len(items) < 2:
        raise DataError(f"{targets} has one image, of which no clusters can be made")
    if labels.METHOD == "kmeans" and len(items) < labels.KMEANS.NUM_CLUSTERS:
        raise DataError(
            f"PSEUDO_LABELS.KMEANS.NUM_CLUSTERS is {labels.KMEANS.NUM_CLUSTERS}, more than the {len(items)} "
            f"training images of {targets}"
        )
    check_cameras(cfg, items)
    if labels.MUST_LINK:
        training_tracklets(cfg.DATASETS.TARGETS, items)
    if labels.CANNOT_LINK:
        exclusive_tracklets(cfg.DATASETS.TARGETS, items)


def check_cameras(cfg: CfgNode, items: Sequence[Item]) -> None:
    """Refuse keys that compare cameras where there is only one, or none is known.

    Raises:
        DatasetError: naming the key.
    """
    if cfg.PSEUDO_LABELS.CAMERA_AWARE.ENABLED and len({item[2] for item in items}) < 2:
        raise DatasetError(
            "PSEUDO_LABELS.CAMERA_AWARE.ENABLED is True, but the images of "
            f"{', '.join(cfg.DATASETS.TARGETS)} have no camera ids, or all the same: set "
            "DATASETS.OWN.CAMERA_FOLDERS or a group (?P<camera>...) in DATASETS.OWN.PATTERN, add "
            "a column camera to the CSV file, or set it False"
        )


def check_identities(datasets: Sequence[ImageDataset]) -> None:
    """Refuse a labelled source whose identities are not known, or are one.

    Raises:
        DatasetError: naming the set and, of own images, where identities would be looked for.
    """
    for dataset in datasets:
        if isinstance(dataset, own.OwnDataset) and dataset.train:
            dataset.require("id", "training on labels")
    found = {item[1] for dataset in datasets for item in dataset.train}
    if len(found) < 2:
        names = ", ".join(type(dataset).__name__ for dataset in datasets)
        raise DataError(f"{names} has 1 identity: training on labels needs at least 2")


def check_test_sets(names: Sequence[str]) -> None:
    """Build test sets once, so that a missing one is an error now and not after the first epochs.

    Raises:
        DatasetError: a set has no query or gallery images, no query has a match, or an own list names files
            that are not there.
    """
    for name in names:
        with _blamed_on(TESTS):
            dataset = build_dataset(name)
        missing = [part for part in ("query", "gallery") if not getattr(dataset, part)]
        if missing:
            raise DatasetError(
                f"DATASETS.TESTS names {name}, which has no {' and no '.join(missing)} images: add them, or "
                "take it out of DATASETS.TESTS"
            )
        _check_matches(name, dataset)
        missing = _missing_files([dataset], [*dataset.query, *dataset.gallery])
        if missing:  # training images may be skipped, test images may not
            raise DatasetError(
                f"DATASETS.TESTS names {name}, which lists {missing[0]!r}{_hint(missing[0])}: there is no "
                "such file"
            )


def _check_matches(name: str, dataset: ImageDataset) -> None:
    """Sets whose identities are secret have the same for all images, and are not measured."""
    cameras: dict[object, set] = {}
    for _, pid, camera in dataset.gallery:
        cameras.setdefault(pid, set()).add(camera)
    if len({*cameras, *(item[1] for item in dataset.query)}) < 2:
        return
    if not any(cameras.get(pid, set()) - {camera} for _, pid, camera in dataset.query):
        raise DatasetError(
            f"DATASETS.TESTS names {name}: no query identity appears in the gallery under another camera, so "
            "nothing can be measured; check how identities and cameras are written in both"
        )
