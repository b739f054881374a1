"""Cut crops out of videos by a tracker's output, as a data set to adapt a model to.

    python tools/crop_tracks.py --camera gate gate.mp4 gate.txt --camera yard frames yard.txt --output crops

A camera is its name, its video or folder of frames, and the tracker's file: MOTChallenge text, CSV, or a
folder of Ultralytics' label files. What is written is crops.csv, for DATASETS.TARGETS
"('csv:crops/crops.csv',)". An interrupted call goes on when it is repeated. docs/trackers.md shows the whole
way from video to tracker.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--camera",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "FRAMES", "TRACKS"),
        help="repeat it for every camera",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="folder to make")
    parser.add_argument("--every", type=int, default=5, help="take every so many-th frame (5)")
    parser.add_argument("--most", type=int, default=20, help="crops of a track at most; 0: all (20)")
    parser.add_argument("--shortest", type=int, default=5, help="boxes that a track must have (5)")
    parser.add_argument(
        "--smallest", nargs=2, type=int, default=(16, 32), metavar=("W", "H"), help="pixels of a crop (16 32)"
    )
    parser.add_argument("--confidence", type=float, default=0.4, help="of the detector, at least (0.4)")
    parser.add_argument("--overlap", type=float, default=0.3, help="IoU with another box, at most (0.3)")
    parser.add_argument(
        "--difference", type=float, default=0.02, help="to the track's last crop, mean of grey values (0.02)"
    )
    parser.add_argument(
        "--classes", nargs="+", default=(), metavar="CLASS", help="as the file names them, e.g. 0; else all"
    )
    parser.add_argument(
        "--first-frame", type=int, metavar="N", help="what the tracks call the first frame (docs/trackers.md)"
    )


def run(arguments: argparse.Namespace) -> None:
    from tabulate import tabulate

    from mmt_plugin.tracks.crops import LIST, Camera, Choice, crop_tracks

    choice = Choice(
        every=arguments.every,
        smallest=tuple(arguments.smallest),
        confidence=arguments.confidence,
        overlap=arguments.overlap,
        most=arguments.most,
        shortest=arguments.shortest,
        difference=arguments.difference,
        kinds=tuple(arguments.classes),
        first_frame=arguments.first_frame,
    )
    cameras = [Camera(name, Path(frames), Path(tracks)) for name, frames, tracks in arguments.camera]
    counts = crop_tracks(cameras, arguments.output, choice)
    reasons = sorted({reason for found in counts.values() for reason in found} - {"crops", "tracks"})
    columns = [
        "tracks",
        "crops",
        *(reason for reason in reasons if any(c.get(reason) for c in counts.values())),
    ]
    rows = [[name, *(found.get(column, 0) for column in columns)] for name, found in counts.items()]
    print(tabulate(rows, headers=["camera", *columns]))
    print(f"written: {arguments.output / LIST}")
