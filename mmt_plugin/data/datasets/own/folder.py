"""Crops from a folder. Its own `query` and `gallery` sub-folders, if any, are the labelled test set."""

import re
from pathlib import Path

from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.errors import MissingFileError

from .known import GALLERY, QUERY, TRAIN, Crop, Crops
from .listing import IMAGE_SUFFIXES, images_below
from .names import GROUPS
from .options import Options

# Market-1501 calls its gallery by the second name.
TEST_FOLDERS = {"query": QUERY, "gallery": GALLERY, "bounding_box_test": GALLERY}
PATTERN, TEST_PATTERN = "DATASETS.OWN.PATTERN", "DATASETS.OWN.TEST_PATTERN"


def read_folder(folder: Path, options: Options) -> Crops:
    """All images below a folder, by subset; what is known of them is read from their paths.

    Args:
        folder: is searched with all its sub-folders; each real folder counts once.
        options: of this data set.

    Raises:
        MissingFileError: there is no such folder.
        DatasetError: it holds no image, a name tells less than a pattern wants, or cannot be read as text.
    """
    if not folder.is_dir():
        raise MissingFileError(f"there is no folder {str(folder)!r} (folder: in DATASETS)")
    paths = {TRAIN: [], QUERY: [], GALLERY: []}
    for path in images_below(folder, options.follow_links):
        inner = path.relative_to(folder)
        subset = TEST_FOLDERS.get(inner.parts[0], TRAIN) if len(inner.parts) > 1 else TRAIN
        paths[subset].append(inner)
    if not any(paths.values()):
        raise DatasetError(f"{str(folder)!r} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    crops = {TRAIN: [_training_crop(folder, inner, options) for inner in paths[TRAIN]]}
    by_name = _told_by_names([*paths[QUERY], *paths[GALLERY]], options.test_pattern)
    for subset in (QUERY, GALLERY):
        crops[subset] = []
        for inner in paths[subset]:
            text = inner.name if by_name else inner.as_posix()
            told = _told(text, options.test_pattern, TEST_PATTERN, folder)
            crops[subset].append(Crop(str(folder / inner), **told))
    return Crops(**crops, wanted=_wanted(folder, options))


def _training_crop(folder: Path, inner: Path, options: Options) -> Crop:
    told = _told(inner.as_posix(), options.pattern, PATTERN, folder) if options.pattern else {}
    if options.camera_folders:
        told["camera"] = _first_folder(inner, folder)
    return Crop(str(folder / inner), **told)


def _told_by_names(paths: list[Path], pattern: str) -> bool:
    """Whether a test set's names tell its identities, as Market-1501's do; else its paths below the folder
    do, as `query/<id>/x.jpg`. One way holds for all images: a stray name makes its folder no identity.
    """
    return any(re.search(pattern, path.name) for path in paths)


def _told(text: str, pattern: str, key: str, folder: Path) -> dict[str, str | None]:
    match = re.search(pattern, text)
    if match is None:
        raise DatasetError(
            f"{text!r} in {str(folder)!r} does not match {key}, {pattern!r}; for this folder alone it is set "
            "in DATASETS.OWN.SETS"
        )
    return {name: value or None for name, value in match.groupdict().items() if name in GROUPS}


def _first_folder(inner: Path, folder: Path) -> str:
    if len(inner.parts) < 2:
        raise DatasetError(
            f"{inner.name!r} lies in {str(folder)!r} itself, so it has no camera: move it to a camera's "
            "sub-folder, or set DATASETS.OWN.CAMERA_FOLDERS False"
        )
    return inner.parts[0]


def _wanted(folder: Path, options: Options) -> dict[str, str]:
    """Where each field would have been told."""
    groups = list(re.compile(options.pattern).groupindex)
    found = (
        f"{PATTERN} is {options.pattern!r}, with the groups {', '.join(groups)}"
        if groups
        else (f"{PATTERN} is empty")
    )
    return {
        name: f"{str(folder)!r} tells none: {found}; a group (?P<{name}>...) would tell it" for name in GROUPS
    }
