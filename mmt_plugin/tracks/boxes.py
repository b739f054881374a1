"""A tracker's boxes: what a box is, and which of many are taken."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmt_plugin.errors import UserError


class TracksError(UserError, ValueError):
    """A file of tracks, or a video, that cannot be used; the message names it, and the line."""


@dataclass(frozen=True)
class Box:
    """One person, or thing, in one frame.

    Attributes:
        frame: number, as the file counts.
        track: name of the tracklet; empty for a detection that no track has taken.
        left, top, width, height: pixels; shares of the frame's size where ``relative``.
        confidence: of the detector; 1 where the file says nothing.
        kind: the file's name of what it is (the class); empty where the file says nothing.
    """

    frame: int
    track: str
    left: float
    top: float
    width: float
    height: float
    confidence: float = 1.0
    relative: bool = False
    kind: str = ""

    def corners(self, frame_width: int, frame_height: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in whole pixels, cut at the frame's borders."""
        scale_x, scale_y = (frame_width, frame_height) if self.relative else (1, 1)
        left, top = self.left * scale_x, self.top * scale_y
        right, bottom = left + self.width * scale_x, top + self.height * scale_y
        return (
            max(0, math.floor(left)),
            max(0, math.floor(top)),
            min(frame_width, math.ceil(right)),
            min(frame_height, math.ceil(bottom)),
        )


def tracks_of(frames: dict[int, list[Box]]) -> dict[str, list[Box]]:
    """The same boxes by track, each in the order of frames."""
    by_track: dict[str, list[Box]] = defaultdict(list)
    for frame in sorted(frames):
        for box in frames[frame]:
            by_track[box.track].append(box)
    return dict(by_track)


def evenly(boxes: Sequence[Box], most: int) -> list[Box]:
    """At most so many of them, first and last included, as far apart as can be."""
    if most <= 0 or len(boxes) <= most:
        return list(boxes)
    if most == 1:
        return [boxes[len(boxes) // 2]]
    return [boxes[round(at * (len(boxes) - 1) / (most - 1))] for at in range(most)]


def overlaps(boxes: Sequence[Box]) -> np.ndarray:
    """Intersection over union of each of N boxes with each other, N x N."""
    left, top, width, height = np.array([(b.left, b.top, b.width, b.height) for b in boxes]).reshape(-1, 4).T
    shared, area = 1.0, width * height
    for start, size in ((left, width), (top, height)):
        end = start + size
        shared = shared * np.maximum(np.minimum.outer(end, end) - np.maximum.outer(start, start), 0)
    return shared / (np.add.outer(area, area) - shared)


def without_overlaps(frame: Iterable[Box], largest: float) -> list[Box]:
    """Boxes of a frame that no other box covers by more than this intersection over union."""
    boxes = list(frame)
    covered = overlaps(boxes) > largest
    np.fill_diagonal(covered, False)
    return [box for box, hit in zip(boxes, covered.any(axis=1), strict=True) if not hit]
