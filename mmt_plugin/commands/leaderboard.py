"""Tables of finished runs beside published numbers, a task at a time.

    python tools/leaderboard.py logs/mmt/market2duke logs/seeds/*/mmt
    python tools/leaderboard.py --format latex logs/mmt/* logs/entry

A folder is a run's, or what tools/evaluate.py --output names.
Runs that differ in their seeds only are one row, with mean and standard deviation. "measured" rows are the
runs named; "published" ones were read elsewhere, as their references say, and were not run here.
"""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmt_plugin.report.result_tables import Result

FORMATS = ("text", "markdown", "latex")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a finished run, or of an evaluation"
    )
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the tables")


def run(arguments: argparse.Namespace) -> None:
    from mmt_plugin.report.result_tables import leaderboard

    results = [result for folder in arguments.runs for result in read_run(folder)]
    print(leaderboard(results, arguments.format))


def read_run(folder: str) -> list["Result"]:
    """A run's results. What a run of an earlier version did not record of itself is read from its
    configuration, which does not tell the number of processes and thus the images per BN.
    """
    from mmt_plugin.report.result_tables import results_of
    from mmt_plugin.runs.description import describe_run
    from mmt_plugin.runs.run import Run

    run = Run(folder)
    described = run.record.get("run") or {**describe_run(run.record_cfg), "images_per_bn": None}
    return results_of(folder, run.record, described)
