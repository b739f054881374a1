"""Size and seed of the built-in world: the ``SYNTHETIC`` config node and its :class:`WorldSpec`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields

from fastreid.config import CfgNode as CN

from mmt_plugin.errors import UserError

# Part of every folder's name: raise it whenever the same spec would give other pictures.
RENDERER_VERSION = 1
# Fields of `WorldSpec` that came later; 0 is the world as it was before them.
LATER_FIELDS = (
    "train_imbalance",
    "train_distractor_ratio",
    "pose_dominance",
    "camera_tint",
    "similar_clothes",
)


class WorldError(UserError, ValueError):
    """A built-in world that cannot be; the message names the key of SYNTHETIC."""


@dataclass(frozen=True)
class WorldSpec:
    """What one domain of the built-in world consists of.

    Attributes:
        seed: everything random derives from it.
        train_ids: identities in the training set.
        test_ids: identities in query and gallery, other people than those in the training set.
        train_images_per_id: training images of each identity, spread over the cameras it passes.
        test_images_per_id: query (2) and gallery images of each test identity.
        cameras: cameras of a domain.
        image_size: height and width in pixels.
        distractor_ratio: gallery images of strangers and background (pid 0), as a share of the others.
        junk_ratio: gallery images with hopeless boxes (pid -1), as a share of the others.
        train_imbalance: standard deviation of the logarithm of the number of training images of an identity;
            0: all have the same number.
        train_distractor_ratio: training images of strangers and background, each of an identity of its own,
            as a share of the others.
        pose_dominance: share of what is seen of a person that the pose decides, and not who it is; above 0
            people turn to eight sides. 1: everybody looks alike in a pose.
        camera_tint: standard deviation of the logarithm of the gains of each camera's channels, beside those
            of its domain.
        similar_clothes: share of everybody's look that is a uniform of the domain.
    """

    seed: int = 1
    train_ids: int = 200
    test_ids: int = 200
    train_images_per_id: int = 10
    test_images_per_id: int = 10
    cameras: int = 6
    image_size: tuple[int, int] = (128, 64)
    distractor_ratio: float = 0.1
    junk_ratio: float = 0.03
    train_imbalance: float = 0.0
    train_distractor_ratio: float = 0.0
    pose_dominance: float = 0.0
    camera_tint: float = 0.0
    similar_clothes: float = 0.0

    def __post_init__(self) -> None:
        height, width = self.image_size if len(self.image_size) == 2 else (0, 0)
        rules = [
            ("SEED", self.seed, self.seed >= 0, "must not be negative"),
            ("TRAIN_IDS", self.train_ids, self.train_ids >= 1, "must be at least 1"),
            ("TEST_IDS", self.test_ids, self.test_ids >= 1, "must be at least 1"),
            (
                "TRAIN_IMAGES_PER_ID",
                self.train_images_per_id,
                self.train_images_per_id >= 2,
                "must be at least 2",
            ),
            (
                "TEST_IMAGES_PER_ID",
                self.test_images_per_id,
                self.test_images_per_id >= 4,
                "must be at least 4: two queries, and a match for each under another camera",
            ),
            (
                "CAMERAS",
                self.cameras,
                2 <= self.cameras <= 9,
                "must lie in 2..9: file names hold one digit for the camera",
            ),
            (
                "IMAGE_SIZE",
                self.image_size,
                height >= 32 and width >= 16,
                "must be [height, width] of at least [32, 16] pixels",
            ),
            ("DISTRACTOR_RATIO", self.distractor_ratio, self.distractor_ratio >= 0, "must not be negative"),
            ("JUNK_RATIO", self.junk_ratio, self.junk_ratio >= 0, "must not be negative"),
            ("TRAIN_IMBALANCE", self.train_imbalance, self.train_imbalance >= 0, "must not be negative"),
            (
                "TRAIN_DISTRACTOR_RATIO",
                self.train_distractor_ratio,
                self.train_distractor_ratio >= 0,
                "must not be negative",
            ),
            (
                "POSE_DOMINANCE",
                self.pose_dominance,
                0 <= self.pose_dominance <= 1,
                "must lie in [0, 1]",
            ),
            ("CAMERA_TINT", self.camera_tint, self.camera_tint >= 0, "must not be negative"),
            (
                "SIMILAR_CLOTHES",
                self.similar_clothes,
                0 <= self.similar_clothes <= 1,
                "must lie in [0, 1]",
            ),
        ]
        problems = [
            f"SYNTHETIC.{key} is {value}; it {rule}" for key, value, holds, rule in rules if not holds
        ]
        if problems:
            raise WorldError("\n".join(problems))

    def described(self) -> dict[str, object]:
        """All attributes, as JSON holds them. Those that came later are left out where they change nothing:
        worlds of earlier versions keep their folders.
        """
        values = {**asdict(self), "image_size": list(self.image_size)}
        return {name: value for name, value in values.items() if value or name not in LATER_FIELDS}

    @property
    def tag(self) -> str:
        """Part of a folder's name that tells two worlds apart: sizes for people, a digest for certainty."""
        everything = json.dumps({**self.described(), "renderer": RENDERER_VERSION}, sort_keys=True)
        digest = hashlib.sha256(everything.encode()).hexdigest()[:8]
        return f"{self.train_ids}+{self.test_ids}ids_seed{self.seed}_{digest}"


@dataclass
class _Current:
    spec: WorldSpec
    num_workers: int
    all_queries: bool
    may_render: bool = True


_current = _Current(WorldSpec(), -1, False)


def spec_from_config(cfg: CN) -> WorldSpec:
    """Reads a :class:`WorldSpec` from ``cfg.SYNTHETIC``.

    Raises:
        WorldError: a value is out of range; the message names the key.
    """
    node = cfg.SYNTHETIC
    values = {field.name: node[field.name.upper()] for field in fields(WorldSpec)}
    return WorldSpec(**{**values, "image_size": tuple(node.IMAGE_SIZE)})


def configure(cfg: CN) -> WorldSpec:
    """Makes ``cfg.SYNTHETIC`` the world that ``SynthPlaza`` and ``SynthMetro`` stand for in this process.

    fastreid builds datasets from their name and root folder alone, so the size has to be known beforehand.

    Raises:
        WorldError: a value is out of range; the message names the key.
    """
    spec, num_workers = spec_from_config(cfg), cfg.SYNTHETIC.NUM_WORKERS
    if num_workers < -1:
        raise WorldError(
            f"SYNTHETIC.NUM_WORKERS is {num_workers}; it must be -1 (every CPU), 0 (this process) or a count"
        )
    _current.spec, _current.num_workers, _current.all_queries = spec, num_workers, cfg.SYNTHETIC.ALL_QUERIES
    return spec


def current_spec() -> WorldSpec:
    """The world set by :func:`configure`, or the standard one."""
    return _current.spec


def current_num_workers() -> int:
    """The number of rendering processes set by :func:`configure`; -1 stands for one for each CPU."""
    return _current.num_workers


def current_all_queries() -> bool:
    """Whether every test image of a person is a query, as set by :func:`configure`."""
    return _current.all_queries


def current_may_render() -> bool:
    """Whether a domain that is not there is drawn; see :func:`only_looking`."""
    return _current.may_render


@contextmanager
def only_looking() -> Iterator[None]:
    """Inside the block data sets of the built-in world list their images from the plan, and draw none."""
    before, _current.may_render = _current.may_render, False
    try:
        yield
    finally:
        _current.may_render = before
