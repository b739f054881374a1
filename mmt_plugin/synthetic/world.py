"""The two domains, and the list of every picture either consists of.

A picture is a :class:`Shot`; :func:`plan` lists all shots of a domain without drawing any. Everything random
has its own stream, keyed by what it is for, so a picture never depends on the order or process of drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .camera import ARTIFICIAL, DAYLIGHT, CameraStyle
from .identity import SUMMER, WINTER, Wardrobe
from .spec import WorldSpec

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
FOLDERS = (TRAIN, QUERY, GALLERY)
QUERIES_PER_ID = 2
DISTRACTOR_PID, JUNK_PID = 0, -1
# Of distractors, how many show no person; and the number of the first stranger of a training set, above those
# of galleries and of passers-by.
BACKGROUND_SHARE, FIRST_STRANGER = 0.4, 1 << 20
MIN_TRAIN_IMAGES = 2


@dataclass(frozen=True)
class Domain:
    """A place, its people's clothes and its cameras; ``index`` keeps its random streams and ids apart. What
    the place looks like is painted in `scene`."""

    name: str
    index: int
    wardrobe: Wardrobe
    cameras: CameraStyle


PLAZA = Domain("SynthPlaza", 0, SUMMER, DAYLIGHT)
METRO = Domain("SynthMetro", 1, WINTER, ARTIFICIAL)
DOMAINS = {domain.name: domain for domain in (PLAZA, METRO)}


class Stream(IntEnum):
    """What a random stream is for."""

    IDENTITY = 0
    STRANGER = 1
    CAMERA = 2
    BACKDROP = 3
    ROUTE = 4
    WALK = 5
    SHOT = 6
    TRAINING_COUNTS = 7
    TRAINING_DISTRACTORS = 8
    FOOTAGE = 9
    UNIFORM = 10
    POSE = 11
    TINT = 12


def stream(spec: WorldSpec, domain: Domain, purpose: Stream, *key: int) -> np.random.Generator:
    """The random generator of one thing (a person, a camera, a picture, ...) in a domain."""
    return np.random.default_rng(np.random.SeedSequence((spec.seed, domain.index, int(purpose), *key)))


class Kind(IntEnum):
    """What is in the box."""

    PERSON = 0
    STRANGER = 1
    BACKGROUND = 2
    JUNK = 3


@dataclass(frozen=True)
class Shot:
    """One picture to be drawn.

    Attributes:
        folder: one of ``FOLDERS``.
        kind: what is in the box.
        person: who is in the box: the person id, or the stranger's number; unused for background.
        camera: 1-based.
        frame: running number within the camera, as in Market-1501's file names.
        step: position in the person's walk past this camera.
    """

    folder: str
    kind: Kind
    person: int
    camera: int
    frame: int
    step: int

    @property
    def pid(self) -> int:
        """Person id in the file name."""
        if self.kind is Kind.PERSON:
            return self.person
        return JUNK_PID if self.kind is Kind.JUNK else DISTRACTOR_PID

    @property
    def name(self) -> str:
        """File name in Market-1501's style, for example ``0001_c1s1_000001_00.jpg``."""
        pid = f"{self.pid:04d}" if self.pid >= 0 else str(self.pid)
        return f"{pid}_c{self.camera}s1_{self.frame:06d}_00.jpg"


def person_ids(spec: WorldSpec, domain: Domain) -> tuple[range, range]:
    """Ids of a domain's training and test people; no id occurs in both, nor in another domain."""
    first = 1 + domain.index * (spec.train_ids + spec.test_ids)
    middle = first + spec.train_ids
    return range(first, middle), range(middle, middle + spec.test_ids)


def plan(spec: WorldSpec, domain: Domain) -> list[Shot]:
    """Every picture of a domain."""
    train_ids, test_ids = person_ids(spec, domain)
    counters = dict.fromkeys(range(1, spec.cameras + 1), 0)

    def shot(folder: str, kind: Kind, person: int, camera: int, step: int) -> Shot:
        counters[camera] += 1
        return Shot(folder, kind, person, camera, counters[camera], step)

    def distractors(folder: str, count: int, rng: np.random.Generator, first: int) -> Iterator[Shot]:
        for number in range(first, first + count):
            kind = Kind.BACKGROUND if rng.random() < BACKGROUND_SHARE else Kind.STRANGER
            yield shot(folder, kind, number, int(rng.integers(1, spec.cameras + 1)), 0)

    shots = []
    for person, images in zip(train_ids, _training_counts(spec, domain), strict=True):
        for camera, step in _visits(spec, domain, person, images):
            shots.append(shot(TRAIN, Kind.PERSON, person, camera, step))
    known = len(shots)
    for person in test_ids:
        asked: set[int] = set()
        for camera, step in _visits(spec, domain, person, spec.test_images_per_id):
            is_query = camera not in asked and len(asked) < QUERIES_PER_ID
            asked.add(camera)
            shots.append(shot(QUERY if is_query else GALLERY, Kind.PERSON, person, camera, step))

    genuine = spec.test_ids * (spec.test_images_per_id - QUERIES_PER_ID)
    rng = stream(spec, domain, Stream.ROUTE, 0)
    shots += distractors(GALLERY, round(spec.distractor_ratio * genuine), rng, 0)
    for _ in range(round(spec.junk_ratio * genuine)):
        person = int(rng.choice(test_ids))
        shots.append(shot(GALLERY, Kind.JUNK, person, int(rng.integers(1, spec.cameras + 1)), 0))
    # Last, because a picture depends on how many its camera has taken before.
    rng = stream(spec, domain, Stream.TRAINING_DISTRACTORS)
    shots += distractors(TRAIN, round(spec.train_distractor_ratio * known), rng, FIRST_STRANGER)
    return shots


def _training_counts(spec: WorldSpec, domain: Domain) -> list[int]:
    """Training images of each identity: log-normal, together about as many as if all had the same number."""
    rng = stream(spec, domain, Stream.TRAINING_COUNTS)
    weights = np.exp(spec.train_imbalance * rng.standard_normal(spec.train_ids))
    counts = np.round(spec.train_images_per_id * weights / weights.mean()).astype(int)
    return np.maximum(counts, MIN_TRAIN_IMAGES).tolist()


def _visits(spec: WorldSpec, domain: Domain, person: int, images: int) -> Iterator[tuple[int, int]]:
    """(camera, step) of each image of a person, who passes at least two cameras."""
    rng = stream(spec, domain, Stream.ROUTE, person)
    most = max(2, min(spec.cameras, images // 2))
    passed = rng.permutation(np.arange(1, spec.cameras + 1))[: int(rng.integers(2, most + 1))]
    for number in range(images):
        yield int(passed[number % len(passed)]), number // len(passed)
