"""Boxes from the files that trackers write."""

import gzip

import numpy as np
import pytest

from mmt_plugin.tracks.boxes import Box, TracksError, evenly, overlaps, without_overlaps
from mmt_plugin.tracks.track_files import read_tracks

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


ONE = [Box(1, "7", 10, 20, 30, 60, 0.9)]
# How strangers write the box of ONE, or one of other confidence or class; and what else their files hold.
STRANGERS = {
    "mot17_gt.txt": (
        "1,7,10,20,30,60,1,1,0.86\n1,9,200,0,9,9,0,8,1\n",
        Box(1, "7", 10, 20, 30, 60, 1, kind="1"),
    ),
    "mot17_result.txt": ("1,7,10.00,20.00,30.00,60.00,0.9,-1,-1,-1\n", ONE[0]),
    "boxmot.txt": ("1,7,10,20,30,60,0.9,0,3\n", Box(1, "7", 10, 20, 30, 60, 0.9, kind="0")),
    "deepsort.txt": ("1,7,10.00,20.00,30.00,60.00,1,-1,-1,-1\n", Box(1, "7", 10, 20, 30, 60)),
    "floats.txt": ("1.0,7.0,1e1,20.,30.0,60,0.9\n", ONE[0]),
    "text_ids.txt": ("1,person-7,10,20,30,60,0.9\n", Box(1, "person-7", 10, 20, 30, 60, 0.9)),
    "comments.txt": ("# by a tracker\n\n1\t7\t10\t20\t30\t60\t0.9\n# end\n", ONE[0]),
    "trailing.txt": ("1, 7, 10, 20, 30, 60, 0.9,\n", ONE[0]),
    "old_mac.txt": ("1;7;10;20;30;60;0.9\r", ONE[0]),
    "commented_names.txt": ("# id, frame, x, y, w, h, conf\n7,1,10,20,30,60,0.9\n", ONE[0]),
    "quoted.csv": ('"frame","id","x","y","w","h","conf"\n"1","7","10","20","30","60","0.9"\n', ONE[0]),
    "norfair.csv": (
        "frame,id,bb_left,bb_top,bb_width,bb_height,conf,x,y,z\n1,7,10,20,30,60,0.9,-1,-1,-1\n",
        ONE[0],
    ),
    "supervision.csv": (
        "x_min,y_min,x_max,y_max,class_id,confidence,tracker_id,frame_index\n10,20,40,80,0,0.9,7,1\n",
        Box(1, "7", 10, 20, 30, 60, 0.9, kind="0"),
    ),
    "row_numbers.csv": ("id,Frame ID,Track ID,x1,y1,x2,y2,score\n0,1,7,10,20,40,80,0.9\n", ONE[0]),
    "tabs.csv": ("frame\tid\tx\ty\tw\th\tconf\n1\t7\t10\t20\t30\t60\t0.9\n", ONE[0]),
    "no_confidence.csv": ("frame,id,x,y,w,h,conf\n1,7,10,20,30,60,\n", Box(1, "7", 10, 20, 30, 60)),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_files_of_strangers(tmp_path, name):
    text, expected = STRANGERS[name]
    assert read(tmp_path, text, name)[1][0] == expected
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    assert read_tracks(tmp_path / f"{name}.gz")[1][0] == expected


def test_detections_are_no_tracks(tmp_path):
    with pytest.raises(TracksError, match="2 detections, but no tracks"):
        read(tmp_path, "1,-1,10,20,30,60,0.9\n1,-1,90,20,30,60,0.9\n")
    # Beside tracks they are kept: they hide people.
    frames = read(tmp_path, "1,-1,10,20,30,60,0.9\n1,-1,12,20,30,60,0.9\n1,3,90,20,30,60,0.9\n")
    assert [box.track for box in frames[1]] == ["", "", "3"]


def test_ultralytics_writes_a_file_a_frame_in_shares_of_it(tmp_path):
    (tmp_path / "clip_2.txt").write_text("0 0.5 0.5 0.2 0.4 0.9 3\n0 0.1 0.1 0.1 0.1 0.9\n0 .9 .9 .1 .1\n")
    (tmp_path / "clip_10.txt").write_text("0 0.5 0.5 0.2 0.4 3\n")
    # A line of six fields has no confidence, its last is the track; or no track, its last is the confidence.
    frames = read_tracks(tmp_path)
    assert list(frames) == [2, 10]
    assert [(box.track, box.confidence, box.kind) for box in frames[2]] == [
        ("3", 0.9, "0"),
        ("", 0.9, "0"),
        ("", 1.0, "0"),
    ]
    assert frames[2][0].corners(1000, 500) == (400, 150, 600, 350)
    assert [box.track for box in frames[10]] == ["3"]
    (tmp_path / "run" / "labels").mkdir(parents=True)
    for path in tmp_path.glob("clip_*.txt"):
        path.rename(tmp_path / "run" / "labels" / path.name)
    assert read_tracks(tmp_path / "run") == frames
    (tmp_path / "run" / "labels" / "yard_2.txt").write_text("0 0.5 0.5 0.2 0.4 0.9 3\n")
    with pytest.raises(TracksError, match=r"several videos \(clip_\*, yard_\*\)"):
        read_tracks(tmp_path / "run")


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
        ("1;7;10,5;20;30;60\n", "'10,5' is no number"),
        ('{"frame": 1}\n', "must name columns"),
        ("frame,id,x,y,w,h\n1,7,10,20,30\n", "line 2: 5 fields for 6 columns"),
    ],
)
def test_what_cannot_be_read_names_the_line(tmp_path, text, message):
    with pytest.raises(TracksError, match=message):
        read(tmp_path, text)


def test_overlap_is_intersection_over_union():
    box, half = Box(1, "a", 0, 0, 10, 10), Box(1, "b", 5, 0, 10, 10)
    np.testing.assert_allclose(overlaps([box, half]), [[1, 50 / 150], [50 / 150, 1]])
    assert without_overlaps([box, half, Box(1, "c", 90, 0, 10, 10)], 0.3) == [Box(1, "c", 90, 0, 10, 10)]
    assert without_overlaps([box, half], 0.34) == [box, half]


@pytest.mark.parametrize(("most", "frames"), [(0, range(10)), (1, [5]), (2, [0, 9]), (4, [0, 3, 6, 9])])
def test_boxes_of_a_track_are_taken_evenly(most, frames):
    track = [Box(frame, "a", 0, 0, 1, 1) for frame in range(10)]
    assert [box.frame for box in evenly(track, most)] == list(frames)
