"""What runs say of a test set, and what may be put together. Shapes: N images, D feature size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmt_plugin.data.dataset import Item
from mmt_plugin.errors import UserError
from mmt_plugin.retrieval import ImageDistances, Labels

# How far float32 features may be from length 1.
NORM_TOLERANCE = 1e-3


class MismatchError(UserError, ValueError):
    """Features that must not be combined or ranked; the message names the run."""


@dataclass(frozen=True, eq=False)
class RunFeatures:
    """What one run, or an ensemble, says of a test set.

    Attributes:
        run: its name, for messages.
        query, gallery: the test set's (path, identity, camera).
        features: N x D float32, queries first.
        is_normalised: whether they are L2-normalised, as they have to be where they are joined.

    Raises:
        MismatchError: there are not as many features as images, or they are not finite and of length 1.
    """

    run: str
    query: Sequence[Item]
    gallery: Sequence[Item]
    features: np.ndarray
    is_normalised: bool = True

    def __post_init__(self) -> None:
        images = len(self.query) + len(self.gallery)
        if self.features.ndim != 2 or len(self.features) != images:
            raise MismatchError(f"{self.run}: features of shape {self.features.shape} for {images} images")
        lengths = np.linalg.norm(self.features, axis=1)
        if not np.isfinite(lengths).all():
            raise MismatchError(f"{self.run}: features are NaN or infinite; its weights are broken")
        if self.is_normalised and np.abs(lengths - 1).max() > NORM_TOLERANCE:
            raise MismatchError(
                f"{self.run}: features are of length {lengths.min():.3g} to {lengths.max():.3g}, not "
                "L2-normalised; they can be neither concatenated nor compared with a camera term"
            )

    @property
    def labels(self) -> Labels:
        """What the images show."""
        return Labels(
            *(
                np.array([int(item[field]) for item in part], dtype=np.int64)
                for field in (1, 2)
                for part in (self.query, self.gallery)
            )
        )

    @property
    def is_labelled(self) -> bool:
        """Whether identities are known: unlabelled sets give all images the same."""
        return len({item[1] for item in (*self.query, *self.gallery)}) > 1

    def check_labels(self) -> None:
        """Refuse to rank by annotations that make every match junk.

        Raises:
            MismatchError: no image has a camera of its own.
        """
        if len({item[2] for item in (*self.query, *self.gallery)}) < 2:
            raise MismatchError(
                f"{self.run}: the test set has no camera ids ({self.query[0][0]} and all others have "
                f"{self.query[0][2]}), but matches of the query's own camera do not count"
            )


def check_same_images(one: RunFeatures, other: RunFeatures) -> None:
    """Refuse features of two runs that are not of the same images in the same order.

    Raises:
        MismatchError: naming both runs and the first image that differs.
    """
    for part in ("query", "gallery"):
        ours, theirs = getattr(one, part), getattr(other, part)
        if len(ours) != len(theirs):
            raise MismatchError(
                f"{one.run} has {len(ours)} {part} images, {other.run} {len(theirs)}: they were not made for "
                "the same test set"
            )
        for mine, yours in zip(ours, theirs, strict=True):
            if tuple(mine) != tuple(yours):
                raise MismatchError(
                    f"{one.run} and {other.run} were not made for the same test set: where the {part} of one "
                    f"has {_described(mine)}, that of the other has {_described(yours)}"
                )


def ensemble(parts: Sequence[RunFeatures]) -> RunFeatures:
    """Concatenated features of several runs, L2-normalised again (VisDA-2020 report, 4.2).

    Every run has the same weight: the squared distances of the ensemble are the mean of theirs.

    Raises:
        MismatchError: the runs are not of the same images, or one is named twice.
    """
    first, *others = parts
    for at, part in enumerate(others, start=1):
        check_same_images(first, part)
        if any(part.run == earlier.run for earlier in parts[:at]):
            raise MismatchError(f"{part.run}: named twice; a run must not outvote the others")
    if not others:
        return first
    joined = np.concatenate([part.features for part in parts], axis=1)
    joined /= np.linalg.norm(joined, axis=1, keepdims=True)
    return RunFeatures(f"ensemble of {len(parts)}", first.query, first.gallery, joined)


def image_distances(
    identity: RunFeatures, camera: RunFeatures | None = None, weight: float = 0.0
) -> ImageDistances:
    """Distances of a test set's images, with the camera term where a camera model's features are given.

    Raises:
        MismatchError: both are not of the same images.
    """
    if camera is None:
        return ImageDistances(identity.features, len(identity.query))
    check_same_images(identity, camera)
    return ImageDistances(identity.features, len(identity.query), camera.features, weight)


def _described(item: Item) -> str:
    path, identity, camera = item
    return f"{Path(path).name} (identity {identity}, camera {camera}) in {Path(path).parent}"
