"""Boxes from the files that trackers write.

MOTChallenge text, as BoxMOT and most others write it: ``frame,id,x,y,w,h[,conf[,...]]``, pixels of the upper
left corner; of nine columns the eighth is the class (ground truth, BoxMOT). CSV with a line of column names.
Ultralytics' ``save_txt`` folders: a file a frame, ``class x y w h [conf] [id]``, centre and size as shares of
the frame. Commas, semicolons or blanks; lines that begin with # are comments; names may end with .gz.
"""

import csv
import gzip
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmt_plugin.system.files import read_text

from .boxes import Box, TracksError

# Names that columns of a CSV file may have. Where a file has several of a row, the last of them counts: an id
# beside a track id numbers the rows.
COLUMNS = {
    "frame": (
        "frame",
        "frameid",
        "frame_id",
        "frame_no",
        "frame_num",
        "frame_number",
        "frame_idx",
        "frame_index",
    ),
    "track": ("id", "object_id", "target_id", "track", "tracklet", "trackid", "tracker_id", "track_id"),
    "left": ("x", "left", "bb_x", "bbox_x", "bb_left", "bbox_left", "x1", "xmin", "x_min", "bbox_x1"),
    "top": ("y", "top", "bb_y", "bbox_y", "bb_top", "bbox_top", "y1", "ymin", "y_min", "bbox_y1"),
    "width": ("w", "width", "bb_w", "bbox_w", "bb_width", "bbox_width"),
    "height": ("h", "height", "bb_h", "bbox_h", "bb_height", "bbox_height"),
    "right": ("x2", "right", "xmax", "x_max", "bbox_x2"),
    "bottom": ("y2", "bottom", "ymax", "y_max", "bbox_y2"),
    "confidence": ("conf", "confidence", "score"),
    "kind": ("class", "cls", "class_id"),
}
# What stands in place of a track's id where there is none.
NO_TRACK = ("-1", "", "none", "nan")


def read_tracks(path: Path) -> dict[int, list[Box]]:
    """All boxes of a tracker's output, by frame, in the file's order; detections without a track, too.

    Args:
        path: a file of MOTChallenge text or CSV, or a folder of Ultralytics' label files.

    Raises:
        TracksError: there is none, a line is of none of these kinds, or no box has a track.
    """
    if path.is_dir():
        boxes = list(_read_label_folder(path))
    elif path.is_file():
        boxes = list(_read_file(path))
    else:
        raise TracksError(f"there is no file or folder of tracks {str(path)!r}")
    if not any(box.track for box in boxes):
        found = (
            f"{len(boxes)} detections, but no tracks: give the output of a tracker" if boxes else "no boxes"
        )
        raise TracksError(f"{str(path)!r} holds {found}")
    by_frame: dict[int, list[Box]] = defaultdict(list)
    seen: set[tuple[int, str]] = set()
    for box in boxes:
        if box.track and (box.frame, box.track) in seen:
            raise TracksError(f"{str(path)!r}: track {box.track} is in frame {box.frame} twice")
        seen.add((box.frame, box.track))
        by_frame[box.frame].append(box)
    return dict(by_frame)


def _read_file(path: Path) -> Iterator[Box]:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except (UnicodeDecodeError, EOFError, OSError) as error:
        raise TracksError(f"{str(path)!r} is no text file: {error}") from error
    numbered = [(number, line.strip(" \t")) for number, line in enumerate(lines, start=1) if line.strip()]
    if numbered and (columns := _columns(numbered[0][1])):
        return _read_csv(path, columns, numbered)
    numbered = [(number, line) for number, line in numbered if not line.startswith("#")]
    if numbered and not _is_number(_split(numbered[0][1])[0]):
        raise TracksError(
            f"{path}: the first line must name columns frame, id, x, y, w, h (or x1, y1, x2, y2) and "
            f"optionally conf; found {', '.join(_split(numbered[0][1]))}"
        )
    return (_mot_box(path, number, _split(line.rstrip(",;"))) for number, line in numbered)


def _split(line: str) -> list[str]:
    """Fields between semicolons or, where there are none, tabs, commas or blanks."""
    separator = next((mark for mark in ";\t," if mark in line), None)
    if separator is None:
        return line.split()
    return [field.strip() for field in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]


def _columns(line: str) -> dict[str, int] | None:
    """Columns by what they hold, if a line names all that are needed."""
    names = [re.sub(r"[ -]+", "_", name.lower()) for name in _split(line.lstrip("# "))]
    at = {key: names.index(name) for key, known in COLUMNS.items() for name in known if name in names}
    sized = {"width", "height"} <= at.keys() or {"right", "bottom"} <= at.keys()
    return at if sized and {"frame", "track", "left", "top"} <= at.keys() else None


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
        # Some trackers write -1 for "not known".
        confidence=1.0 if confidence < 0 else confidence,
        kind=_kind(fields[7]) if len(fields) == 9 else "",
    )


def _read_csv(path: Path, at: dict[str, int], numbered: Sequence[tuple[int, str]]) -> Iterator[Box]:
    names = _split(numbered[0][1].lstrip("# "))
    for number, line in numbered[1:]:
        where, fields = f"{path}, line {number}", _split(line)
        if line.startswith("#"):
            continue
        if len(fields) != len(names):
            raise TracksError(f"{where}: {len(fields)} fields for {len(names)} columns")
        given = {key: fields[column] for key, column in at.items()}
        left, top = _number(given["left"], where), _number(given["top"], where)
        if "width" in given and "height" in given:
            width, height = _number(given["width"], where), _number(given["height"], where)
        else:
            width, height = _number(given["right"], where) - left, _number(given["bottom"], where) - top
        confidence = _number(given.get("confidence") or "1", where)
        kind = _kind(given.get("kind", ""))
        yield _box(
            where, given["frame"], given["track"], left, top, width, height, confidence=confidence, kind=kind
        )


def _read_label_folder(folder: Path) -> Iterator[Box]:
    if (folder / "labels").is_dir():
        folder /= "labels"
    files = sorted((path for path in folder.glob("*.txt") if path.is_file()), key=_frame_of)
    clips = sorted({re.sub(r"\d+$", "", path.stem) for path in files})
    if len(clips) > 1:
        raise TracksError(
            f"{str(folder)!r} holds the labels of several videos ({clips[0]}*, {clips[1]}*): give each "
            "a folder"
        )
    for path in files:
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            fields, where = line.split(), f"{path}, line {number}"
            if not fields:
                continue
            if len(fields) not in (5, 6, 7):
                raise TracksError(f"{where}: expected class x y w h [conf] [id], found {len(fields)} fields")
            x, y, width, height = (_number(field, where) for field in fields[1:5])
            # Of six fields the last is a track's number or, where no track has taken it, the confidence.
            tracked = len(fields) == 7 or (len(fields) == 6 and _number(fields[5], where).is_integer())
            sure = len(fields) == 7 or (len(fields) == 6 and not tracked)
            yield _box(
                where,
                str(_frame_of(path)),
                fields[-1] if tracked else "",
                x - width / 2,
                y - height / 2,
                width,
                height,
                confidence=_number(fields[5], where) if sure else 1.0,
                relative=True,
                kind=_whole(fields[0]),
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
    kind: str = "",
) -> Box:
    number = _number(frame, where)
    if number != int(number) or number < 0:
        raise TracksError(f"{where}: the frame is {frame!r}, not a whole number")
    if width <= 0 or height <= 0:
        raise TracksError(f"{where}: the box is {width:g} wide and {height:g} high")
    name = _whole(track)
    name = "" if name.lower() in NO_TRACK else name
    return Box(int(number), name, left, top, width, height, confidence, relative, kind)


def _whole(name: str) -> str:
    """The name as written; some trackers write whole numbers as floats."""
    return re.sub(r"^(-?\d+)\.0*$", r"\1", name.strip())


def _kind(name: str) -> str:
    return "" if name.startswith("-") else _whole(name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, where: str) -> float:
    if not _is_number(text):
        raise TracksError(f"{where}: {text!r} is no number")
    value = float(text)
    if not math.isfinite(value):
        raise TracksError(f"{where}: {text!r} is not finite")
    return value
