"""Try the label step over a grid of settings before anything is trained: a table, contact sheets, advice.

    python tools/explore_labels.py logs/market2duke --target folder:/data/crops
    python tools/explore_labels.py a.pth b.pth --config-file own/folder --target folder:/data/crops
    python tools/explore_labels.py pretrained --config-file own/folder_no_source --target csv:/data/crops.csv

What is named first is a run's folder, a checkpoint, or "pretrained": the backbone before any training.
Several checkpoints are the networks of one training. The network of a checkpoint that lies in no run is what
--config-file says. Nothing is trained, and identities, where they are known, are only compared with.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "weights", nargs="+", metavar="RUN_OR_WEIGHTS", help="a run, checkpoints, or pretrained"
    )
    parser.add_argument(
        "--target", action="append", default=[], metavar="SET", help="folder:, csv: or a name"
    )
    parser.add_argument("--config-file", metavar="FILE", help="the recipe that is to train")
    parser.add_argument("--output", type=Path, default=Path("explore_labels.html"), metavar="FILE")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides of the recipe")


def run(arguments: argparse.Namespace) -> None:
    from mmt_plugin.exploration.explore import explore_and_tell

    explore_and_tell(arguments)
