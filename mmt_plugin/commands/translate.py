"""Translate a source set with the generator of a finished SDA run, into the source's own layout.

    python tools/translate.py --config-file configs/sda/plaza2metro.yml

reads OUTPUT_DIR/model_final.pth, or MODEL.WEIGHTS where that is set, and writes beside the source's folder,
below FASTREID_DATASETS, where the dataset SynthPlazaSDA reads it. Call it again after an interruption:
images that are there are left.
"""

import argparse
from pathlib import Path

from mmt_plugin.commands.overrides import add_overrides
from mmt_plugin.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the SDA run")
    parser.add_argument("--output", metavar="FOLDER", help="dataset folder to write in place of the default")
    parser.add_argument("--quality", type=int, default=95, metavar="N", help="of JPEG files (published: 75)")
    parser.add_argument("--overwrite", action="store_true", help="delete earlier translations first")
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.quality <= 95:
        raise UsageError(f"--quality is {arguments.quality}; JPEG has 1 to 95")
    from fastreid.utils.logger import setup_logger

    from mmt_plugin import data
    from mmt_plugin.config import ConfigError, check_config, load_config
    from mmt_plugin.config.architecture import SDA, is_a
    from mmt_plugin.data.datasets.translated import split_folder, translated_folder
    from mmt_plugin.data.items import training_items
    from mmt_plugin.runs.run_files import FINAL_MODEL
    from mmt_plugin.sda.translator import Translator, translate
    from mmt_plugin.system.devices import resolve_device

    setup_logger()
    cfg = load_config(arguments.config_file, arguments.opts)
    resolve_device(cfg)
    check_config(cfg)
    data.configure(cfg)
    if not is_a(cfg, SDA):
        raise ConfigError(f"{arguments.config_file} is no recipe of SDA (MODEL.META_ARCHITECTURE)")
    if arguments.output and len(cfg.DATASETS.NAMES) > 1:
        raise ConfigError(f"--output is for one source; DATASETS.NAMES has {len(cfg.DATASETS.NAMES)}")
    translator = Translator(cfg, cfg.MODEL.WEIGHTS or str(Path(cfg.OUTPUT_DIR, FINAL_MODEL)))
    for name in cfg.DATASETS.NAMES:
        items = training_items([name])
        folder = translated_folder(items, cfg.SDA.METHOD)
        if arguments.output:
            folder = Path(arguments.output, split_folder(items).name)
        translate(cfg, translator, items, folder, arguments.quality, arguments.overwrite)
