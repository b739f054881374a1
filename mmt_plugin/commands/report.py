"""Write the report of a run, again or for the first time.

    python tools/report.py logs/market2duke

The page, report.html in the run's folder, is one file with everything in it. Pictures need the data sets,
below the folder that FASTREID_DATASETS names; without them the page says what is missing.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="OUTPUT_DIR of a run")


def run(arguments: argparse.Namespace) -> None:
    from mmt_plugin.report.page import write_report

    print(write_report(arguments.run))
