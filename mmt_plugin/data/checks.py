"""What a configuration asks of its data sets, checked before anything is trained."""

from collections.abc import Sequence

from fastreid.config import CfgNode

from .build import build_dataset
from .dataset import DatasetError, Item


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


def check_test_sets(names: Sequence[str]) -> None:
    """Build test sets once, so that a missing one is an error now and not after the first epochs.

    Raises:
        DatasetError: a set has no query or gallery images.
    """
    for name in names:
        dataset = build_dataset(name)
        missing = [part for part in ("query", "gallery") if not getattr(dataset, part)]
        if missing:
            raise DatasetError(
                f"DATASETS.TESTS names {name}, which has no {' and no '.join(missing)} images: add them, or "
                "take it out of DATASETS.TESTS"
            )
