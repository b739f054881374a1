"""Peak memory of a training step: MMT beside a single network, each in a process of its own."""

import argparse
import logging
from contextlib import ExitStack
from types import SimpleNamespace

import torch
from tabulate import tabulate

from mmt_plugin.config import load_config
from mmt_plugin.pseudo_labels.timing import GIB, Stages

from .measure import in_fresh_process
from .ready_trainer import ready_trainer

CONFIG = "configs/mmt/market2duke.yml"
SINGLE = ["MMT.NUM_PAIRS", 1, "MMT.EMA.ENABLED", False, "MMT.SOFT_CE_WEIGHT", 0.0, "MMT.SOFT_TRI_WEIGHT", 0.0]
CHECKPOINTING = ["MODEL.BACKBONE.GRADIENT_CHECKPOINTING", True]
CASES = {
    "single network": SINGLE,
    "MMT": [],
    "MMT, gradient checkpointing": CHECKPOINTING,
}
HEADERS = ["", "peak, GiB", "of it above the idle process", "against 2 x single", "a step, s"]
STEPS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this measurement's options to a command line."""
    parser.add_argument("--config-file", default=CONFIG, help="recipe, for its networks, images and batches")
    parser.add_argument("--classes", type=int, default=700, help="live classes")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides for all")


def run(arguments: argparse.Namespace) -> None:
    """Print one table: resident memory of the process on a CPU, allocated memory of the device on a GPU."""
    rows, single = [], None
    for name, overrides in CASES.items():
        options = [*arguments.opts, *overrides]
        done = in_fresh_process(_prepare, _train, arguments.config_file, options, arguments.classes)
        peak = done.result or done.peak_gib
        single = single or peak
        rows.append([name, peak, done.added_gib, peak / (2 * single), done.seconds["total"] / STEPS])
    print("\nPeak memory of training\n")
    print(tabulate(rows, headers=HEADERS, tablefmt="github", floatfmt=".2f"))


def _prepare(config_file: str, options: list, classes: int) -> SimpleNamespace:
    with ExitStack() as stack:
        logging.disable(logging.INFO)
        stack.callback(logging.disable, logging.NOTSET)
        trainer = stack.enter_context(ready_trainer(load_config(config_file, options), classes))
        return SimpleNamespace(stack=stack.pop_all(), trainer=trainer)


def _train(prepared: SimpleNamespace, stages: Stages) -> float:
    """GiB allocated on the GPU at most; 0 on a CPU."""
    with prepared.stack:
        for _ in range(STEPS):
            prepared.trainer.one_iteration()
    return torch.cuda.max_memory_allocated() / GIB if torch.cuda.is_available() else 0.0
