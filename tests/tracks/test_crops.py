"""Crops of tracks as a data set of its own."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mmt_plugin.data.datasets.own.table import read_table
from mmt_plugin.tracks import crops as crops_module
from mmt_plugin.tracks.boxes import TracksError
from mmt_plugin.tracks.crops import Camera, Choice, crop_tracks

EVERY = Choice(every=1, confidence=0.5, most=0, shortest=1, difference=0.0, smallest=(4, 8))


def colour(track: int, frame: int) -> tuple[int, int, int]:
    return (40 * track, 10 * frame, 255 - 20 * frame)


@pytest.fixture
def camera(tmp_path):
    """Six frames in which three tracks walk apart, each in a colour of its own; track 3 is 6 pixels high."""
    (tmp_path / "frames").mkdir()
    lines = []
    for frame in range(1, 7):
        picture = np.full((60, 120, 3), 200, np.uint8)
        for track, height in ((1, 30), (2, 30), (3, 6)):
            left, top = 5 + 35 * (track - 1) + frame, 10
            picture[top : top + height, left : left + 12] = colour(track, frame)
            confidence = 0.4 if (track, frame) == (2, 1) else 0.9
            lines.append(f"{frame},{track},{left},{top},12,{height},{confidence}")
        Image.fromarray(picture).save(tmp_path / "frames" / f"frame_{frame:03d}.png")
    (tmp_path / "tracks.txt").write_text("\n".join(lines))
    return Camera("gate", tmp_path / "frames", tmp_path / "tracks.txt")


def rows(folder):
    with open(folder / "crops.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_crops_hold_their_track_and_nothing_else(camera, tmp_path):
    counts = crop_tracks([camera], tmp_path / "out", EVERY)["gate"]
    assert counts == {"crops": 11, "tracks": 2, "small": 6, "unsure": 1, "overlapping": 0, "not needed": 0}
    found = rows(tmp_path / "out")
    assert len(found) == 11
    for row in found:
        track, frame = int(row["tracklet"].split("/")[1]), int(row["frame"])
        pixels = np.asarray(Image.open(tmp_path / "out" / row["path"]), dtype=int)
        assert pixels.shape == (30, 12, 3)
        assert np.abs(pixels - colour(track, frame)).max() <= 8  # JPEG
        assert row["camera"] == "gate"
    subsets = read_table(tmp_path / "out" / "crops.csv")
    assert {crop.tracklet for crop in subsets.train} == {"gate/1", "gate/2"}


def test_boxes_are_thinned_capped_and_near_duplicates_left_out(camera, tmp_path):
    def frames(**changes):
        choice = Choice(**{**EVERY.__dict__, **changes})
        folder = tmp_path / "_".join(f"{key}{value}" for key, value in changes.items())
        crop_tracks([camera], folder, choice)
        return [int(row["frame"]) for row in rows(folder) if row["tracklet"] == "gate/1"]

    assert frames(every=2) == [1, 3, 5]
    assert frames(most=2) == [1, 6]
    thinned = frames(difference=0.02)
    assert thinned[0] == 1
    assert len(thinned) < 6


def test_a_second_call_writes_nothing_and_a_killed_one_goes_on(camera, tmp_path, monkeypatch):
    other = Camera("yard", camera.frames, camera.tracks)
    crop_tracks([camera], tmp_path / "out", EVERY)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "gate").iterdir()}
    crop_tracks([camera, other], tmp_path / "out", EVERY)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "gate").iterdir()}
    whole = (tmp_path / "out" / "crops.csv").read_text()

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(crops_module, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            crop_tracks([camera], tmp_path / "killed", EVERY)
    crop_tracks([camera, other], tmp_path / "killed", EVERY)
    assert (tmp_path / "killed" / "crops.csv").read_text() == whole
    with pytest.raises(TracksError, match="other settings"):
        crop_tracks([camera], tmp_path / "out", Choice())


def test_damaged_frames_are_counted(camera, tmp_path):
    (camera.frames / "frame_002.png").write_bytes(b"no image")
    (camera.frames / "frame_003.png").unlink()
    counts = crop_tracks([camera], tmp_path / "out", EVERY)["gate"]
    assert counts["frames missing or unreadable"] == 2
    assert json.loads((tmp_path / "out" / "crops.json").read_text())["cameras"]["gate"]["counts"] == counts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda camera, tmp: [camera, camera], "named twice"),
        (lambda camera, tmp: [Camera("a/b", camera.frames, camera.tracks)], "make a name"),
        (lambda camera, tmp: [Camera("a", tmp / "none", camera.tracks)], "there is no"),
        (lambda camera, tmp: [Camera("a", tmp / "empty", camera.tracks)], "holds no images"),
    ],
)
def test_mistakes_are_named(camera, tmp_path, make, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TracksError, match=message):
        crop_tracks(make(camera, tmp_path), tmp_path / "out", EVERY)


def test_a_choice_that_leaves_nothing_says_what_left_it_out(camera, tmp_path):
    with pytest.raises(TracksError, match="18 unsure"):
        crop_tracks([camera], tmp_path / "out", Choice(**{**EVERY.__dict__, "confidence": 0.95}))


def test_a_video_gives_the_frames_it_was_made_of(camera, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as video:
        stream = video.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 120, 60, "yuv420p", 4_000_000
        for path in sorted(camera.frames.iterdir()):
            for packet in stream.encode(av.VideoFrame.from_image(Image.open(path))):
                video.mux(packet)
        for packet in stream.encode():
            video.mux(packet)
    of_video = Camera("gate", tmp_path / "clip.mp4", camera.tracks)
    assert crop_tracks([of_video], tmp_path / "video", EVERY)["gate"]["crops"] == 11
    crop_tracks([camera], tmp_path / "frames_out", EVERY)
    assert [row["path"] for row in rows(tmp_path / "video")] == [
        row["path"] for row in rows(tmp_path / "frames_out")
    ]
