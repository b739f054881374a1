"""Crops of tracked people: which boxes are worth one, and a data set of them.

Written are ``<camera>/<track>_<frame>.jpg`` and ``crops.csv`` with path, camera, tracklet and frame, which
``csv:`` data sets read. The same input gives the same files; a camera that is complete is not read again.
"""

import csv
import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from mmt_plugin.system.files import replace_when_complete
from mmt_plugin.system.json_files import read_json

from .boxes import Box, TracksError, evenly, tracks_of, without_overlaps
from .frames import read_frames
from .track_files import read_tracks

logger = logging.getLogger("fastreid.mmt.tracks")

LIST, RECORD = "crops.csv", "crops.json"
COLUMNS = ("path", "camera", "tracklet", "frame")
# Width and height of the grey thumbnails that near-duplicates are told by.
THUMBNAIL = (8, 16)


@dataclass(frozen=True)
class Choice:
    """Which boxes become crops.

    Attributes:
        every: so many-th frame; the same ones for all tracks, so that tracks seen together stay together. Of
            a track that is in none of them every so many-th box.
        smallest: width and height in pixels, of the box inside the frame.
        confidence: of the detector, at least.
        overlap: intersection over union with any other box of the frame, at most.
        most: crops of a track, evenly spaced; 0: all.
        shortest: boxes that a track must have to be used.
        difference: mean difference of grey values in [0, 1] to the track's last crop, at least; less is a
            near-duplicate.
        kinds: classes, as the file names them; none: all.
        first_frame: what the tracks call the first frame; None: see `read_frames`.
    """

    every: int = 5
    smallest: tuple[int, int] = (16, 32)
    confidence: float = 0.4
    overlap: float = 0.3
    most: int = 20
    shortest: int = 5
    difference: float = 0.02
    kinds: tuple[str, ...] = ()
    first_frame: int | None = None

    def __post_init__(self) -> None:
        for name, least, most in (
            ("every", 1, np.inf),
            ("confidence", 0, 1),
            ("overlap", 0, 1),
            ("most", 0, np.inf),
            ("shortest", 1, np.inf),
            ("difference", 0, 1),
        ):
            if not least <= getattr(self, name) <= most:
                raise TracksError(f"{name} is {getattr(self, name)}; it must lie in [{least}, {most}]")
        if min(self.smallest) < 1:
            raise TracksError(f"smallest is {self.smallest}; width and height must be at least 1")


@dataclass(frozen=True)
class Camera:
    """A camera's name, its video or folder of frames, and the tracker's output for it."""

    name: str
    frames: Path
    tracks: Path


def chosen_boxes(frames: Mapping[int, list[Box]], choice: Choice, counts: Counter) -> dict[int, list[Box]]:
    """The boxes to be cut out, by frame, as far as the tracks alone can tell.

    Args:
        frames: boxes by frame.
        choice: which.
        counts: of what was left out, and why; added to.
    """
    free = {frame: without_overlaps(boxes, choice.overlap) for frame, boxes in frames.items()}
    counts["overlapping"] += sum(len(frames[frame]) - len(boxes) for frame, boxes in free.items())
    wanted: dict[int, list[Box]] = {}
    first = min(frames)
    lengths = Counter(box.track for boxes in frames.values() for box in boxes)
    for track, boxes in tracks_of(free).items():
        if not track:
            counts["without a track"] += len(boxes)
            continue
        if choice.kinds:
            counts["of other classes"] += sum(box.kind not in choice.kinds for box in boxes)
            boxes = [box for box in boxes if box.kind in choice.kinds]
        if lengths[track] < choice.shortest:
            counts["of short tracks"] += len(boxes)
            continue
        sure = [box for box in boxes if box.confidence >= choice.confidence]
        counts["unsure"] += len(boxes) - len(sure)
        in_step = [box for box in sure if (box.frame - first) % choice.every == 0]
        kept = evenly(in_step or sure[:: choice.every], choice.most)
        counts["not needed"] += len(sure) - len(kept)
        for box in kept:
            wanted.setdefault(box.frame, []).append(box)
    return wanted


def crop_tracks(cameras: list[Camera], output: Path, choice: Choice) -> dict[str, dict]:
    """Cut out the chosen boxes of all cameras.

    Args:
        cameras: with names of their own.
        output: folder of the crops; of an earlier call with the same choice it is completed.
        choice: which boxes.

    Returns:
        By camera: crops, tracks, and what was left out.

    Raises:
        TracksError: names are equal, the folder is of another choice, or no crop is left.
    """
    names = Counter(camera.name for camera in cameras)
    if twice := [name for name, count in names.items() if count > 1]:
        raise TracksError(f"camera {twice[0]!r} is named twice: give every camera a name of its own")
    for camera in cameras:
        if not re.fullmatch(r"\w[\w.-]*", camera.name) or camera.name in (LIST, RECORD):
            raise TracksError(
                f"camera {camera.name!r}: letters, digits, '-', '.' and '_' make a name; begin with a letter"
            )
    output.mkdir(parents=True, exist_ok=True)
    record = _read_record(output, choice)
    for camera in cameras:
        source = _fingerprint(camera)
        if record["cameras"].get(camera.name, {}).get("source") == source:
            logger.info(f"camera {camera.name}: complete already")
            continue
        rows, counts = _crop_camera(camera, output, choice)
        record["cameras"][camera.name] = {"source": source, "rows": rows, "counts": dict(counts)}
        _write(output / RECORD, json.dumps(record, indent=1))
    rows = [row for name in sorted(record["cameras"]) for row in record["cameras"][name]["rows"]]
    if not rows:
        raise TracksError(f"no box is left of {len(cameras)} camera(s): {_told(record)}; ask for less")
    with replace_when_complete(str(output / LIST), "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return {name: entry["counts"] for name, entry in record["cameras"].items()}


def _crop_camera(camera: Camera, output: Path, choice: Choice) -> tuple[list[list[str]], Counter]:
    counts: Counter = Counter()
    found = read_tracks(camera.tracks)
    _tell_of_classes(camera, found, choice)
    wanted = chosen_boxes(found, choice, counts)
    folder = output / camera.name
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.jpg"):  # of a call that was killed, or of other tracks
        old.unlink()
    rows: list[list[str]] = []
    last: dict[str, np.ndarray] = {}
    frames = tqdm(
        read_frames(camera.frames, wanted, min(found), choice.first_frame),
        desc=camera.name,
        total=len(wanted),
        leave=False,
        disable=None,
    )
    for number, frame in frames:
        if frame is None:
            counts["frames missing or unreadable"] += 1
            continue
        for box in wanted[number]:
            left, top, right, bottom = box.corners(frame.width, frame.height)
            if right <= left or bottom <= top:
                counts["outside of the picture"] += 1
                continue
            if right - left < choice.smallest[0] or bottom - top < choice.smallest[1]:
                counts["small"] += 1
                continue
            crop = frame.crop((left, top, right, bottom))
            seen = np.asarray(crop.convert("L").resize(THUMBNAIL), dtype=np.float32) / 255
            if box.track in last and np.abs(seen - last[box.track]).mean() < choice.difference:
                counts["near-duplicates"] += 1
                continue
            last[box.track] = seen
            name = f"{_file_name(box.track)}_{number:06d}.jpg"
            _save(crop, folder / name)
            rows.append([f"{camera.name}/{name}", camera.name, f"{camera.name}/{box.track}", str(number)])
    if wanted and counts["frames missing or unreadable"] == len(wanted):
        raise TracksError(
            f"camera {camera.name}: {str(camera.frames)!r} has none of the {len(wanted)} frames that "
            f"{str(camera.tracks)!r} names"
        )
    counts["crops"], counts["tracks"] = len(rows), len(last)
    return rows, counts


def _tell_of_classes(camera: Camera, found: Mapping[int, list[Box]], choice: Choice) -> None:
    """Refuse classes that the file does not have; warn where several are cropped."""
    kinds = Counter(box.kind for boxes in found.values() for box in boxes if box.track)
    told = ", ".join(f"{kind or 'none'}: {count}" for kind, count in sorted(kinds.items()))
    if unknown := sorted(set(choice.kinds) - kinds.keys()):
        raise TracksError(
            f"{str(camera.tracks)!r} has no boxes of class {unknown[0]!r}; boxes by class: {told}"
        )
    if len(kinds) > 1 and not choice.kinds:
        logger.warning(f"camera {camera.name}: boxes of several classes ({told}); --classes keeps some only")


def _file_name(track: str) -> str:
    return re.sub(r"[^\w.-]", lambda match: f"%{ord(match.group()):x}", track)


def _save(crop: Image.Image, path: Path) -> None:
    with replace_when_complete(str(path), "wb") as file:
        crop.save(file, format="JPEG", quality=95)


def _read_record(output: Path, choice: Choice) -> dict:
    settings = json.loads(json.dumps(asdict(choice)))
    path = output / RECORD
    if not path.is_file():
        if any(output.iterdir()):
            raise TracksError(f"{str(output)!r} is not empty and holds no {RECORD}: name a new folder")
        record = {"choice": settings, "cameras": {}}
        _write(path, json.dumps(record, indent=1))
        return record
    try:
        record = read_json(path)
        earlier = {**json.loads(json.dumps(asdict(Choice()))), **record["choice"]}
        record["cameras"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TracksError(f"{str(path)!r} is no record of crops: name a new folder") from None
    if earlier != settings:
        raise TracksError(f"{str(output)!r} was made with other settings: name a new folder, or repeat those")
    return record


def _fingerprint(camera: Camera) -> list:
    """What tells whether the same video and tracks were used."""
    parts = []
    for path in (camera.frames, camera.tracks):
        if not path.exists():
            raise TracksError(f"camera {camera.name}: there is no {str(path)!r}")
        files = [path]
        if path.is_dir():
            files = [file for file in path.rglob("*") if file.is_file()]
        status = [file.stat() for file in files]
        newest = max((found.st_mtime_ns for found in status), default=0)
        parts.append([str(path), len(files), sum(found.st_size for found in status), newest])
    return parts


def _write(path: Path, text: str) -> None:
    with replace_when_complete(str(path), "w") as file:
        file.write(text)


def _told(record: dict) -> str:
    counts: Counter = Counter()
    for entry in record["cameras"].values():
        counts.update({key: value for key, value in entry["counts"].items() if key != "tracks"})
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
