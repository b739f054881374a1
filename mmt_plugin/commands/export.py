"""Write the model of a run as files that need no plugin, and check that they give the same features.

    python tools/export.py logs/market2duke --format fastreid
    python tools/export.py logs/market2duke --format onnx --output market2duke_onnx --images crops/*.jpg

The network is the one that the run uses for inference: the first teacher at the last epoch, or what
MMT.SELECTION.RULE "best" has chosen. Domain-specific BN is folded to the target's, the classifier left out.
The folder that is written holds the model and a config.yaml with its pre-processing:

    fastreid     model.pth, a Baseline checkpoint that fastreid's own evaluation and demo load
    safetensors  model.safetensors, the weights as trained; MMT.WEIGHTS accepts it
    torchscript  model.torchscript, RGB pixels 0-255 (B x 3 x H x W, float32) to features (B x D)
    onnx         model.onnx, the same
"""

import argparse
from pathlib import Path

FORMATS = ("fastreid", "safetensors", "torchscript", "onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a run, or one of its checkpoints")
    parser.add_argument("--format", required=True, choices=FORMATS, help="what is to read the model")
    parser.add_argument(
        "--output", type=Path, help="folder to make; by default export_<format> in the run's folder"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="FILE",
        help="crops to compare on; by default the run's own",
    )


def run(arguments: argparse.Namespace) -> None:
    from mmt_plugin.inference.exports import TOLERANCE, export

    folder = arguments.run if arguments.run.is_dir() else arguments.run.parent
    output = arguments.output or folder / f"export_{arguments.format}"
    difference = export(arguments.run, arguments.format, output, arguments.images)
    print(f"largest difference of a feature: {difference:.2g} (limit {TOLERANCE:g})")
    print(f"written: {output}")
