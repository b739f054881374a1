"""Train or evaluate a recipe: Mutual Mean-Teaching, its baselines, source pre-training, image translation
(SDA), or any fastreid config.

    python tools/train_net.py --config-file configs/synthetic/plaza2metro_mmt.yml
    python tools/train_net.py --config-file configs/mmt/market2duke.yml --resume OUTPUT_DIR logs/a SEED 2
    python tools/train_net.py --config-file configs/mmt/market2duke.yml --eval-only \\
        MODEL.WEIGHTS logs/a/model_final.pth
    python tools/train_net.py --config-file configs/mmt/market2duke.yml --num-gpus 4

Configuration keys and their values stand before or behind the options; all keys of the plugin, with what they
mean, stand in mmt_plugin/config/defaults.py, the recipes in configs/. Data sets lie below the folder that the
environment variable FASTREID_DATASETS names. A run that was interrupted goes on with --resume, a finished one
with --resume and a larger SOLVER.MAX_EPOCH.
python tools/doctor.py says what this machine lacks.
"""

import argparse
import os

from mmt_plugin.commands.overrides import add_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """fastreid's command line, explained."""
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the recipe, a file of configs/")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run stopped")
    parser.add_argument(
        "--allow-change",
        action="append",
        default=[],
        metavar="KEY",
        help="with --resume: a key that may have another value than before; may be given several times",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, train nothing")
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="processes on this machine")
    parser.add_argument("--num-machines", type=int, default=1, metavar="N", help="machines of the run")
    parser.add_argument(
        "--machine-rank", type=int, default=0, metavar="N", help="which machine this is, from 0"
    )
    parser.add_argument(
        "--dist-url", default=default_address(), metavar="URL", help="where rank 0 listens; auto: a free port"
    )
    add_overrides(parser)


def default_address() -> str:
    """fastreid's, a port for each user: whoever left a process behind sees it as a port that is taken."""
    user = os.getuid() if hasattr(os, "getuid") else 1
    return f"tcp://127.0.0.1:{2**15 + 2**14 + user % 2**14}"


def run(arguments: argparse.Namespace) -> None:
    if os.environ.get("RANK", "0") == "0":  # torchrun's
        print(f"{arguments.config_file}: loading torch and fastreid", flush=True)
    from mmt_plugin.commands.job import start

    start(arguments)
