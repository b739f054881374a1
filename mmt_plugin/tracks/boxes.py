"""A tracker's boxes, from the files that trackers write.

MOTChallenge text, as BoxMOT and most others write it: ``frame,id,x,y,w,h[,conf[,...]]``, commas or blanks,
pixels of the upper left corner, frames from 1. CSV with a line of column names. Ultralytics' ``save_txt``
folders: a file a frame, ``class x y w h [conf] id``, centre and size as shares of the frame.
"""

import csv
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmt_plugin.errors import UserError

# Names that columns of a CSV file may have.
COLUMNS = {
    "frame": ("frame", "frame_id", "frame_number"),
    "track": ("id", "track_id", "track", "tracklet"),
    "left": ("x", "left", "bb_left", "x1", "xmin"),
    "top": ("y", "top", "bb_top", "y1", "ymin"),
    "width": ("w", "width", "bb_width"),
    "height": ("h", "height", "bb_height"),
    "right": ("x2", "right", "xmax"),
    "bottom": ("y2", "bottom", "ymax"),
    "confidence": ("conf", "confidence", "score"),
}


class TracksError(UserError, ValueError):
    """A file of tracks, or a video, that cannot be used; the message names it, and the line."""


@dataclass(frozen=True)
class Box:
    """One person, or thing, in one frame.

    Attributes:
        frame: number, as the file counts.
        track: name of the tracklet.
        left, top, width, height: pixels; shares of the frame's size where ``relative``.
        confidence: of the detector; 1 where the file says nothing.
    """

    frame: int
    track: str
    left: float
    top: float
    width: float
    height: float
    confidence: float = 1.0
    relative: bool = False

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


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (one.width * one.height + other.width * other.height - shared)


def read_tracks(path: Path) -> dict[int, list[Box]]:
    """All boxes of a tracker's output, by frame, in the file's order.

    Args:
        path: a file of MOTChallenge text or CSV, or a folder of Ultralytics' label files.

    Raises:
        TracksError: there is none, or a line is of none of these kinds.
    """
    if path.is_dir():
        boxes = list(_read_label_folder(path))
    elif path.is_file():
        boxes = list(_read_file(path))
    else:
        raise TracksError(f"there is no file or folder of tracks {str(path)!r}")
    if not boxes:
        raise TracksError(f"{str(path)!r} holds no boxes with a track id")
    by_frame: dict[int, list[Box]] = defaultdict(list)
    seen: set[tuple[int, str]] = set()
    for box in boxes:
        if (box.frame, box.track) in seen:
            raise TracksError(f"{str(path)!r}: track {box.track} is in frame {box.frame} twice")
        seen.add((box.frame, box.track))
        by_frame[box.frame].append(box)
    return dict(by_frame)


def _read_file(path: Path) -> Iterator[Box]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise TracksError(f"{str(path)!r} is no text file: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if numbered and re.search(r"[A-Za-z]", re.sub(r"[eE][+-]?\d|nan|inf", "", numbered[0][1])):
        return _read_csv(path, numbered)
    return (_mot_box(path, number, re.split(r"[,;\s]+", line.strip(" ,;\t"))) for number, line in numbered)


def _mot_box(path: Path, number: int, fields: Sequence[str]) -> Box:
    where = f"{path}, line {number}"
    if len(fields) < 6:
        raise TracksError(f"{where}: expected frame,id,x,y,w,h[,conf,...], found {len(fields)} fields")
    confidence = _number(fields[6], where) if len(fields) > 6 else 1.0
    return _box(
        where,
        fields[0],
        fields[1],
        *(_number(field, where) for field in fields[2:6]),
        # Ground truth and some trackers write -1 for "not known".
        confidence=1.0 if confidence < 0 else confidence,
    )


def _read_csv(path: Path, numbered: Sequence[tuple[int, str]]) -> Iterator[Box]:
    delimiter = max(",;\t", key=numbered[0][1].count)
    names = [name.strip().lower() for name in next(csv.reader([numbered[0][1]], delimiter=delimiter))]
    at = {key: names.index(name) for key, known in COLUMNS.items() for name in known if name in names}
    needed = {"frame", "track", "left", "top"}
    sized = {"width", "height"} <= at.keys() or {"right", "bottom"} <= at.keys()
    if not needed <= at.keys() or not sized:
        raise TracksError(
            f"{path}: the first line must name columns frame, id, x, y, w, h (or x1, y1, x2, y2) and "
            f"optionally conf; found {', '.join(names)}"
        )
    for number, line in numbered[1:]:
        where = f"{path}, line {number}"
        fields = next(csv.reader([line], delimiter=delimiter))
        if len(fields) != len(names):
            raise TracksError(f"{where}: {len(fields)} fields for {len(names)} columns")
        given = {key: fields[column].strip() for key, column in at.items()}
        left, top = _number(given["left"], where), _number(given["top"], where)
        if "width" in given and "height" in given:
            width, height = _number(given["width"], where), _number(given["height"], where)
        else:
            width, height = _number(given["right"], where) - left, _number(given["bottom"], where) - top
        confidence = _number(given.get("confidence") or "1", where)
        yield _box(where, given["frame"], given["track"], left, top, width, height, confidence=confidence)


def _read_label_folder(folder: Path) -> Iterator[Box]:
    files = sorted((path for path in folder.glob("*.txt") if path.is_file()), key=_frame_of)
    for path in files:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            fields, where = line.split(), f"{path}, line {number}"
            if len(fields) in (0, 5):
                continue  # nothing, or a detection that no track has taken
            if len(fields) not in (6, 7):
                raise TracksError(f"{where}: expected class x y w h [conf] id, found {len(fields)} fields")
            x, y, width, height = (_number(field, where) for field in fields[1:5])
            confidence = _number(fields[5], where) if len(fields) == 7 else 1.0
            yield _box(
                where,
                str(_frame_of(path)),
                fields[-1],
                x - width / 2,
                y - height / 2,
                width,
                height,
                confidence=confidence,
                relative=True,
            )


def _frame_of(path: Path) -> int:
    digits = re.search(r"(\d+)$", path.stem)
    if digits is None:
        raise TracksError(f"{path}: the file name ends with no frame number")
    return int(digits.group(1))


def _box(
    where: str,
    frame: str,
    track: str,
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    confidence: float,
    relative: bool = False,
) -> Box:
    number = _number(frame, where)
    if number != int(number) or number < 0:
        raise TracksError(f"{where}: the frame is {frame!r}, not a whole number")
    if width <= 0 or height <= 0:
        raise TracksError(f"{where}: the box is {width:g} wide and {height:g} high")
    # Some trackers write whole numbers as floats.
    name = re.sub(r"^(-?\d+)\.0+$", r"\1", track.strip())
    return Box(int(number), name, left, top, width, height, confidence, relative)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise TracksError(f"{where}: {text!r} is no number") from None
    if not math.isfinite(value):
        raise TracksError(f"{where}: {text!r} is not finite")
    return value


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


def without_overlaps(frame: Iterable[Box], largest: float) -> list[Box]:
    """Boxes of a frame that no other box covers by more than this intersection over union."""
    boxes = list(frame)
    return [box for box in boxes if all(other is box or overlap(box, other) <= largest for other in boxes)]
