"""The same training step in other number formats, memory formats, and compiled."""

import argparse
from contextlib import ExitStack
from statistics import median

import torch
from tabulate import tabulate

from mmt_plugin.config import load_config

from .measure import seconds
from .ready_trainer import ReadyTrainer, ready_trainer

CONFIG = "configs/synthetic/plaza2metro_mmt.yml"
AMP, CHECKPOINTING = "SOLVER.AMP.ENABLED", "MODEL.BACKBONE.GRADIENT_CHECKPOINTING"
# (overrides, whether torch compiles the backbones), by name; the first is what the others are compared with.
VARIANTS: dict[str, tuple[list, bool]] = {
    "float32": ([], False),
    "bfloat16": ([AMP, True], False),
    "channels_last": (["MODEL.CHANNELS_LAST", True], False),
    "bfloat16, channels_last": ([AMP, True, "MODEL.CHANNELS_LAST", True], False),
    "gradient checkpointing": ([CHECKPOINTING, True], False),
    "torch.compile": ([], True),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this measurement's options to a command line."""
    parser.add_argument("--config-file", default=CONFIG, help="recipe")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), help="which")
    parser.add_argument("--classes", type=int, default=200, help="live classes of one domain")
    parser.add_argument("--repeats", type=int, default=9, help="steps measured, of which the median counts")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides for all")


def run(arguments: argparse.Namespace) -> None:
    """Print one table: a row a variant. Their steps take turns."""
    with ExitStack() as stack:
        trainers = {}
        for name in arguments.variants:
            overrides, is_compiled = VARIANTS[name]
            cfg = load_config(arguments.config_file, [*arguments.opts, *overrides])
            torch.manual_seed(0)
            trainers[name] = stack.enter_context(ready_trainer(cfg, arguments.classes))
            if is_compiled:
                compile_backbones(trainers[name])
        device = next(iter(trainers.values())).cfg.MODEL.DEVICE
        for trainer in trainers.values():  # compiles
            trainer.one_iteration()
        turns = [
            {name: 1000 * seconds(trainer.one_iteration, device) for name, trainer in trainers.items()}
            for _ in range(2 + arguments.repeats)
        ][2:]
    first = arguments.variants[0]
    rows = [
        [name, median(turn[name] for turn in turns), median(turn[first] / turn[name] for turn in turns)]
        for name in arguments.variants
    ]
    print(f"\nA step of {arguments.config_file}, medians of {arguments.repeats}\n")
    headers = ["", "step, ms", f"times as fast as {first}"]
    print(tabulate(rows, headers=headers, tablefmt="github", floatfmt=("", ".0f", ".2f")))


def compile_backbones(trainer: ReadyTrainer) -> None:
    """Let torch compile the backbones of all networks."""
    for network in (*trainer.raw_model.students, *trainer.raw_model.teachers):
        network.backbone.compile()
