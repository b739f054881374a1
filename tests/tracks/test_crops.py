"""Crops of tracks as a data set of its own."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mmt_plugin.data.datasets.own.table import read_table
from mmt_plugin.tracks import crops as crops_module
from mmt_plugin.tracks.boxes import TracksError
from mmt_plugin.tracks.crops import Camera, Choice, crop_tracks
from mmt_plugin.tracks.frames import read_frames

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


def test_tracks_seen_together_stay_together(camera, tmp_path):
    """Track 2 begins a frame after track 1, and track 3 is in the even frames only."""
    lines = [line.split(",") for line in camera.tracks.read_text().split()]
    kept = [x for x in lines if not (x[1] == "2" and x[0] == "1") and not (x[1] == "3" and int(x[0]) % 2)]
    camera.tracks.write_text("\n".join(map(",".join, kept)))
    crop_tracks([camera], tmp_path / "out", replace(EVERY, every=2, smallest=(4, 4)))
    found = [(row["tracklet"].split("/")[1], int(row["frame"])) for row in rows(tmp_path / "out")]
    assert sorted(found) == [("1", 1), ("1", 3), ("1", 5), ("2", 3), ("2", 5), ("3", 2), ("3", 6)]


def test_tracks_that_count_from_0(camera, tmp_path):
    text = camera.tracks.read_text()
    camera.tracks.write_text(
        "".join(f"{int(n) - 1},{rest}\n" for n, rest in (x.split(",", 1) for x in text.split()))
    )
    with pytest.raises(TracksError, match="say --first-frame 0"):
        crop_tracks([camera], tmp_path / "out", EVERY)
    crop_tracks([camera], tmp_path / "shifted", replace(EVERY, first_frame=0))
    camera.tracks.write_text(text)
    crop_tracks([camera], tmp_path / "straight", EVERY)
    one, other = rows(tmp_path / "shifted"), rows(tmp_path / "straight")
    assert [int(row["frame"]) + 1 for row in one] == [int(row["frame"]) for row in other]
    for row, same in zip(one, other, strict=True):
        assert (tmp_path / "shifted" / row["path"]).read_bytes() == (
            tmp_path / "straight" / same["path"]
        ).read_bytes()


def test_classes_are_told_and_chosen(camera, tmp_path, caplog):
    lines = camera.tracks.read_text().split()
    camera.tracks.write_text("\n".join(f"{line},{int(line.split(',')[1] == '2')},0" for line in lines))
    crop_tracks([camera], tmp_path / "all", EVERY)
    assert "several classes (0: 12, 1: 6)" in caplog.text
    counts = crop_tracks([camera], tmp_path / "people", replace(EVERY, kinds=("0",)))["gate"]
    assert (counts["crops"], counts["of other classes"]) == (6, 6)
    with pytest.raises(TracksError, match="no boxes of class '7'; boxes by class: 0: 12, 1: 6"):
        crop_tracks([camera], tmp_path / "none", replace(EVERY, kinds=("7",)))


def test_boxes_beyond_the_picture_are_cut_or_counted(camera, tmp_path):
    camera.tracks.write_text(
        "1,1,-6,-5,20,40,0.9\n2,1,119,59,30,60,0.9\n3,1,500,5,9,9,0.9\n4,1,1e7,-1e7,9,9,0.9\n"
    )
    counts = crop_tracks([camera], tmp_path / "out", EVERY)["gate"]
    assert (counts["crops"], counts["small"], counts["outside of the picture"]) == (1, 1, 2)
    assert Image.open(tmp_path / "out" / rows(tmp_path / "out")[0]["path"]).size == (14, 35)


def test_other_tracks_or_frames_are_cropped_anew(camera, tmp_path):
    crop_tracks([camera], tmp_path / "out", EVERY)
    camera.tracks.write_text("\n".join(camera.tracks.read_text().split()[:6]))
    crop_tracks([camera], tmp_path / "out", EVERY)
    listed = {row["path"] for row in rows(tmp_path / "out")}
    assert {f"gate/{path.name}" for path in (tmp_path / "out" / "gate").iterdir()} == listed
    Image.new("RGB", (120, 60), (9, 200, 9)).save(camera.frames / "frame_001.png")
    crop_tracks([camera], tmp_path / "out", EVERY)
    first = Image.open(tmp_path / "out" / next(iter(sorted(listed))))
    assert np.abs(np.asarray(first, dtype=int) - (9, 200, 9)).max() < 8


def test_a_sequence_of_motchallenge_may_be_named_by_its_folder(camera, tmp_path):
    (tmp_path / "MOT17-02").mkdir()
    camera.frames.rename(tmp_path / "MOT17-02" / "img1")
    counts = crop_tracks([Camera("gate", tmp_path / "MOT17-02", camera.tracks)], tmp_path / "out", EVERY)
    assert counts["gate"]["crops"] == 11


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"choice": {}}', '{"choice": 3, "cameras": {}}'])
def test_a_record_of_something_else_is_refused(camera, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "crops.json").write_text(text)
    with pytest.raises(TracksError, match=r"crops\.json' is no record of crops"):
        crop_tracks([camera], tmp_path / "out", EVERY)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda camera, tmp: [camera, camera], "named twice"),
        (lambda camera, tmp: [Camera("a/b", camera.frames, camera.tracks)], "make a name"),
        (lambda camera, tmp: [Camera("..", camera.frames, camera.tracks)], "make a name"),
        (lambda camera, tmp: [Camera("crops.json", camera.frames, camera.tracks)], "make a name"),
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


def write_video(path, frames, rotation=0):
    import av

    with av.open(str(path), "w") as video:
        stream = video.add_stream("mpeg4", rate=5)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for number, frame in enumerate(frames):
            frame = av.VideoFrame.from_image(frame)
            frame.pts = number * number  # as of a camera that slows down
            for packet in stream.encode(frame):
                video.mux(packet)
        for packet in stream.encode():
            video.mux(packet)


def test_a_video_gives_the_frames_it_was_made_of(camera, tmp_path):
    pytest.importorskip("av")
    frames = [Image.open(path) for path in sorted(camera.frames.iterdir())]
    write_video(tmp_path / "clip.mp4", frames)
    playlist = tmp_path / "playlist.mp4"
    playlist.write_text("ffconcat version 1.0\nfile clip.mp4\n")
    with pytest.raises(TracksError, match=r"playlist\.mp4' cannot be read as a video"):
        crop_tracks([Camera("gate", playlist, camera.tracks)], tmp_path / "list", EVERY)
    of_video = Camera("gate", tmp_path / "clip.mp4", camera.tracks)
    assert crop_tracks([of_video], tmp_path / "video", EVERY)["gate"]["crops"] == 11
    crop_tracks([camera], tmp_path / "frames_out", EVERY)
    assert [row["path"] for row in rows(tmp_path / "video")] == [
        row["path"] for row in rows(tmp_path / "frames_out")
    ]
    for row in rows(tmp_path / "video"):
        found, expected = (
            np.asarray(Image.open(tmp_path / name / row["path"]), dtype=float)[8:-8, 4:-4, 1].mean()
            for name in ("video", "frames_out")
        )
        assert abs(found - expected) < 4  # green of two frames differs by 10
    # Fewer frames than the tracks name, and a file that breaks off.
    write_video(tmp_path / "short.mp4", frames[:4])
    short = Camera("gate", tmp_path / "short.mp4", camera.tracks)
    assert crop_tracks([short], tmp_path / "short", EVERY)["gate"]["frames missing or unreadable"] == 2
    whole = (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TracksError, match=r"torn\.mp4' cannot be read as a video"):
        crop_tracks([Camera("gate", tmp_path / "torn.mp4", camera.tracks)], tmp_path / "torn", EVERY)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_videos_are_turned_as_opencv_turns_them(tmp_path, rotation):
    """Trackers read videos with OpenCV. Sizes are odd."""
    pytest.importorskip("av")
    cv2 = pytest.importorskip("cv2")
    picture = Image.new("RGB", (61, 45), (0, 0, 200))
    picture.paste((200, 0, 0), (0, 0, 20, 15))
    write_video(tmp_path / "clip.mp4", [picture] * 3, rotation)
    ((_, found),) = read_frames(tmp_path / "clip.mp4", [2])
    video = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    expected = video.read()[1][..., ::-1].astype(int)
    assert np.asarray(found).shape == expected.shape
    assert np.abs(np.asarray(found, dtype=int) - expected).mean() < 5
