"""Boxes from the files that trackers write."""

import pytest

from mmt_plugin.tracks.boxes import Box, TracksError, evenly, overlap, read_tracks, without_overlaps

MOT = "1,7,10,20,30,60,0.9,-1,-1,-1\n3,7,12,20,30,60,0.8,-1,-1,-1\n1,8.0,100.5,20,30.5,60,1,-1,-1,-1\n"


def read(tmp_path, text, name="tracks.txt"):
    (tmp_path / name).write_text(text)
    return read_tracks(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mot.txt", MOT),
        ("blanks.txt", MOT.replace(",", " ")),
        ("blank_lines.txt", "\n" + MOT.replace("\n", "\n\n")),
        ("windows.txt", "\ufeff" + MOT.replace("\n", "\r\n")),
        (
            "names.csv",
            "id,frame,x,y,w,h,conf\n7,1,10,20,30,60,0.9\n7,3,12,20,30,60,.8\n8,1,100.5,20,30.5,60,1\n",
        ),
        (
            "corners.csv",
            "frame;track_id;x1;y1;x2;y2;score\n1;7;10;20;40;80;.9\n3;7;12;20;42;80;.8\n1;8;100.5;20;131;80;1\n",
        ),
    ],
)
def test_every_kind_of_file_gives_the_same_boxes(tmp_path, name, text):
    frames = read(tmp_path, text, name)
    assert frames == {
        1: [Box(1, "7", 10, 20, 30, 60, 0.9), Box(1, "8", 100.5, 20, 30.5, 60, 1.0)],
        3: [Box(3, "7", 12, 20, 30, 60, 0.8)],
    }


def test_ultralytics_writes_a_file_a_frame_in_shares_of_it(tmp_path):
    (tmp_path / "clip_2.txt").write_text("0 0.5 0.5 0.2 0.4 0.9 3\n0 0.1 0.1 0.1 0.1 0.9\n0 .9 .9 .1 .1\n")
    (tmp_path / "clip_10.txt").write_text("0 0.5 0.5 0.2 0.4 3\n")
    # A line of six fields has no confidence: its last is the track.
    frames = read_tracks(tmp_path)
    assert list(frames) == [2, 10]
    assert frames[2][0].corners(1000, 500) == (400, 150, 600, 350)
    assert [box.track for box in frames[10]] == ["3"]


def test_ground_truth_has_no_confidence(tmp_path):
    assert read(tmp_path, "1,7,10,20,30,60,-1,-1,-1,-1\n")[1][0].confidence == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,7,10,20,30\n", r"tracks\.txt, line 1: expected frame,id,x,y,w,h"),
        ("1,7,10,20,30,60\n\n2,7,10,twenty,30,60\n", r"line 3: 'twenty' is no number"),
        ("1,7,10,20,nan,60\n", "'nan' is not finite"),
        ("1.5,7,10,20,30,60\n", "the frame is '1.5'"),
        ("1,7,10,20,0,60\n", "0 wide and 60 high"),
        ("1,7,10,20,30,60\n1,7,11,20,30,60\n", "track 7 is in frame 1 twice"),
        ("\n", "holds no boxes"),
        ("frame,x,y,w,h\n1,1,1,1,1\n", "must name columns frame, id.*found frame, x, y, w, h"),
        ("frame,id,x,y,w,h\n1,7,10,20,30\n", "line 2: 5 fields for 6 columns"),
    ],
)
def test_what_cannot_be_read_names_the_line(tmp_path, text, message):
    with pytest.raises(TracksError, match=message):
        read(tmp_path, text)


def test_overlap_is_intersection_over_union():
    box, half = Box(1, "a", 0, 0, 10, 10), Box(1, "b", 5, 0, 10, 10)
    assert overlap(box, half) == pytest.approx(50 / 150)
    assert without_overlaps([box, half, Box(1, "c", 90, 0, 10, 10)], 0.3) == [Box(1, "c", 90, 0, 10, 10)]
    assert without_overlaps([box, half], 0.34) == [box, half]


@pytest.mark.parametrize(("most", "frames"), [(0, range(10)), (1, [5]), (2, [0, 9]), (4, [0, 3, 6, 9])])
def test_boxes_of_a_track_are_taken_evenly(most, frames):
    track = [Box(frame, "a", 0, 0, 1, 1) for frame in range(10)]
    assert [box.frame for box in evenly(track, most)] == list(frames)
