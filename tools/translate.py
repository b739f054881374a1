#!/usr/bin/env python
"""Translate a source set with the generator of a finished SDA run, into the source's own layout.

    python tools/translate.py --config-file configs/sda/plaza2metro.yml

reads OUTPUT_DIR/model_final.pth, or MODEL.WEIGHTS where that is set, and writes beside the source's folder,
below FASTREID_DATASETS, where the dataset SynthPlazaSDA reads it. Call it again after an interruption:
images that are there are left.
"""

import mmt_plugin  # noqa: F401  (first: it makes fastreid importable, in spawned workers, too)

# isort: split
import argparse
import sys
from pathlib import Path

from fastreid.utils.logger import setup_logger

from mmt_plugin import data
from mmt_plugin.config import ConfigError, check_config, load_config
from mmt_plugin.data.build import training_items
from mmt_plugin.data.datasets.translated import split_folder, translated_folder
from mmt_plugin.runs.files import FINAL_MODEL
from mmt_plugin.sda import StructuredDomainAdaptation
from mmt_plugin.sda.translator import Translator, translate
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.images import UnreadableImageError
from mmt_plugin.weights.network import CheckpointError


def main(arguments: argparse.Namespace) -> None:
    cfg = load_config(arguments.config_file, arguments.opts)
    resolve_device(cfg)
    check_config(cfg)
    data.configure(cfg)
    if StructuredDomainAdaptation.__name__ != cfg.MODEL.META_ARCHITECTURE:
        raise ConfigError(f"{arguments.config_file} is no recipe of SDA (MODEL.META_ARCHITECTURE)")
    if not 1 <= arguments.quality <= 95:
        raise ConfigError(f"--quality is {arguments.quality}; JPEG has 1 to 95")
    translator = Translator(cfg, cfg.MODEL.WEIGHTS or str(Path(cfg.OUTPUT_DIR, FINAL_MODEL)))
    if arguments.output and len(cfg.DATASETS.NAMES) > 1:
        raise ConfigError(f"--output is for one source; DATASETS.NAMES has {len(cfg.DATASETS.NAMES)}")
    for name in cfg.DATASETS.NAMES:
        items = training_items([name])
        folder = translated_folder(items, cfg.SDA.METHOD)
        if arguments.output:
            folder = Path(arguments.output, split_folder(items).name)
        translate(cfg, translator, items, folder, arguments.quality, arguments.overwrite)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="of the SDA run")
    parser.add_argument("--output", help="dataset folder to write in place of the default")
    parser.add_argument("--quality", type=int, default=95, help="of JPEG files (published: 75)")
    parser.add_argument("--overwrite", action="store_true", help="delete earlier translations first")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, such as OUTPUT_DIR logs/x")
    setup_logger()
    try:
        main(parser.parse_args())
    except (CheckpointError, ConfigError, FileNotFoundError, UnreadableImageError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
