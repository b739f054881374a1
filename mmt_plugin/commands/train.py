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
import re
import socket

from mmt_plugin.commands.overrides import add_overrides
from mmt_plugin.errors import UsageError


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


def check_processes(arguments: argparse.Namespace) -> None:
    """Refuse numbers of processes that cannot be, and an address that nobody can meet at.

    Raises:
        UsageError: naming the option.
    """
    for option, least in (("num_gpus", 1), ("num_machines", 1), ("machine_rank", 0)):
        if getattr(arguments, option) < least:
            name = option.replace("_", "-")
            raise UsageError(f"--{name} is {getattr(arguments, option)}; it must be at least {least}")
    if arguments.machine_rank >= arguments.num_machines:
        raise UsageError(
            f"--machine-rank is {arguments.machine_rank}, of {arguments.num_machines} machines "
            "(--num-machines), which are counted from 0"
        )
    if arguments.dist_url == "auto" or arguments.dist_url.startswith(("env://", "file://")):
        return
    address = re.fullmatch(r"tcp://(\S+):(\d+)", arguments.dist_url)
    if address is None or not 0 < int(address[2]) < 2**16:
        raise UsageError(
            f"--dist-url is {arguments.dist_url!r}; write tcp://host:port, such as tcp://10.0.0.1:29500"
        )
    if arguments.num_gpus * arguments.num_machines > 1:
        try:
            socket.getaddrinfo(address[1].strip("[]"), int(address[2]))
        except OSError as error:
            raise UsageError(f"--dist-url is {arguments.dist_url!r}: there is no such host") from error


def run(arguments: argparse.Namespace) -> None:
    check_processes(arguments)
    if os.environ.get("RANK", "0") == "0":  # torchrun's
        print(f"{arguments.config_file}: loading torch and fastreid", flush=True)
    from mmt_plugin.commands.job import start

    start(arguments)
