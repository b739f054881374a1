"""Rank test sets by trained runs, alone or together, with camera term and re-ranking; or score a submission.

    python tools/evaluate.py logs/market2duke
    python tools/evaluate.py logs/a logs/b --camera logs/camera --config-file configs/evaluate/visda20.yml \\
        --steps --output logs/entry
    python tools/evaluate.py --submission result.txt --query-index index_validation_query.txt \\
        --gallery-index index_validation_gallery.txt

A run is its folder, or a checkpoint in it. DATASETS.TESTS and TEST come from --config-file, else from the
first run, and hold for all runs, as do DATASETS.OWN and SYNTHETIC behind --opts. docs/challenge.md explains
every step.
"""

import argparse
from pathlib import Path

from mmt_plugin.errors import UsageError

OF_RUNS = ("camera", "config_file", "steps", "output", "opts")
OF_SUBMISSIONS = ("query_index", "gallery_index")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="several runs make an ensemble")
    parser.add_argument("--camera", metavar="RUN", help="a camera model (configs/camera)")
    parser.add_argument("--config-file", metavar="FILE", help="test sets and TEST keys (configs/evaluate)")
    parser.add_argument("--steps", action="store_true", help="print what each step gains")
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="write result.txt, result.zip, metrics")
    parser.add_argument("--submission", metavar="FILE", help="score this file instead of evaluating runs")
    parser.add_argument("--query-index", metavar="FILE", help="of the submission")
    parser.add_argument("--gallery-index", metavar="FILE", help="of the submission")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides")


def run(arguments: argparse.Namespace) -> None:
    if bool(arguments.submission) == bool(arguments.runs):
        raise UsageError("give either runs to evaluate, or --submission with its indices")
    if arguments.submission and not (arguments.query_index and arguments.gallery_index):
        raise UsageError("--submission needs --query-index and --gallery-index")
    for name in OF_RUNS if arguments.submission else OF_SUBMISSIONS:
        if getattr(arguments, name):
            where = "for runs, not for --submission" if arguments.submission else "of a --submission"
            raise UsageError(f"--{name.replace('_', '-')} is {where}")
    if len(arguments.opts) % 2:
        raise UsageError(f"--opts takes KEY VALUE pairs, but has {len(arguments.opts)} words")
    from fastreid.utils.logger import setup_logger

    from mmt_plugin.challenge.rank_runs import evaluate, score

    setup_logger(name="fastreid")
    (score if arguments.submission else evaluate)(arguments)
