"""What a process does before it trains or evaluates: where it logs, what it logs first, its random state."""

import argparse
import logging
import sys
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm
from fastreid.utils.collect_env import collect_env_info
from fastreid.utils.env import seed_all_rng
from fastreid.utils.logger import setup_logger

# Of a record for the log file: pages of configuration, before which a screen would scroll away.
FILE = {"for_file": True}


def set_up(cfg: CfgNode, arguments: argparse.Namespace, folder: str | None) -> None:
    """As fastreid's `default_setup`, which also writes config.yaml: here only an accepted training does.

    Args:
        cfg: is logged.
        arguments: of the command line.
        folder: that gets the log; None where nothing may be written.
    """
    if folder and comm.is_main_process():
        Path(folder).mkdir(parents=True, exist_ok=True)
    logger = setup_logger(folder, distributed_rank=comm.get_rank())
    logger.info(f"Rank of current process: {comm.get_rank()}. World size: {comm.get_world_size()}")
    for handler in logger.handlers:
        if getattr(handler, "stream", None) is sys.stdout:
            handler.addFilter(_not_for_the_file_alone)
    logger.info("Environment info:\n" + collect_env_info(), extra=FILE)
    logger.info(f"Command line arguments: {arguments}")
    if arguments.config_file:
        text = Path(arguments.config_file).read_text()
        logger.info(f"Contents of args.config_file={arguments.config_file}:\n{text}", extra=FILE)
    logger.info(f"Running with full config:\n{cfg}", extra=FILE)
    seed_all_rng()


def _not_for_the_file_alone(record: logging.LogRecord) -> bool:
    return not getattr(record, "for_file", False)
