"""Write the model of a run as files that need no plugin, and check that they give the same features.

    python tools/export.py logs/market2duke --format fastreid
    python tools/export.py logs/market2duke --format onnx --output market2duke_onnx --images crops/*.jpg
    python tools/export.py logs/market2duke --for boxmot --output reid

The network is the one that the run uses for inference: the first teacher at the last epoch, or what
MMT.SELECTION.RULE "best" has chosen. Domain-specific BN is folded to the target's, the classifier left out.
The folder that is written holds the model and a config.yaml with its pre-processing:

    fastreid     model.pth, a Baseline checkpoint that fastreid's own evaluation and demo load
    safetensors  model.safetensors, the weights as trained; MMT.WEIGHTS accepts it
    torchscript  model.torchscript, RGB pixels 0-255 (B x 3 x H x W, float32) to features (B x D)
    onnx         model.onnx, the same

Trackers feed other pixels: --for names the tracker and chooses what it needs, --pixels says it by hand.
"""

import argparse
from pathlib import Path

FORMATS = ("fastreid", "safetensors", "torchscript", "onnx")
CLIENTS = ("boxmot", "ultralytics", "deepsort", "norfair")
PIXELS = ("raw", "unit", "imagenet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a run, or one of its checkpoints")
    parser.add_argument("--format", choices=FORMATS, help="what is to read the model; with --for: onnx")
    parser.add_argument("--for", dest="client", default="", choices=CLIENTS, help="tracker that is to use it")
    parser.add_argument(
        "--pixels",
        choices=PIXELS,
        help="RGB pixels of 0-255, 0-1, or normalised as ImageNet's",
    )
    parser.add_argument("--normalized", action="store_true", help="features of unit length")
    parser.add_argument("--half", action="store_true", help="float16 weights, pixels and features")
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
    from mmt_plugin.inference.exports import HALF_TOLERANCE, TOLERANCE, ExportError, export

    if not (arguments.format or arguments.client):
        raise ExportError(f"name a --format ({', '.join(FORMATS)}) or a tracker (--for)")
    if arguments.client and arguments.pixels:
        raise ExportError(f"--for {arguments.client} chooses the pixels: leave --pixels out")
    format = arguments.format or "onnx"
    folder = arguments.run if arguments.run.is_dir() else arguments.run.parent
    output = arguments.output or folder / f"export_{arguments.client or format}"
    difference = export(
        arguments.run,
        format,
        output,
        arguments.images,
        client=arguments.client,
        pixels=arguments.pixels or "raw",
        normalized=arguments.normalized,
        half=arguments.half,
    )
    limit = HALF_TOLERANCE if arguments.half else TOLERANCE
    print(f"largest difference of a feature: {difference:.2g} (limit {limit:g})")
    print(f"written: {output}")
