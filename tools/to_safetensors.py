#!/usr/bin/env python
"""Take the network that is used for inference out of a checkpoint, as a file of safetensors.

    python tools/to_safetensors.py logs/market2duke/model_final.pth market2duke.safetensors

MMT.WEIGHTS accepts such files; hand them to anyone who would rather not unpickle a stranger's.
"""

import argparse
import sys

from mmt_plugin.engine.checkpoint import CheckpointError, inference_weights, save_safetensors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="of this plugin, or of fastreid's Baseline")
    parser.add_argument("output", help="file to write, *.safetensors")
    arguments = parser.parse_args()
    try:
        weights = inference_weights(arguments.checkpoint)
        save_safetensors(weights, arguments.output)
    except (CheckpointError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{len(weights)} tensors in {arguments.output}")


if __name__ == "__main__":
    main()
