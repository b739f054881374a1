"""List the recipes, each with a line on what it is.

    python tools/configs.py
    python tools/configs.py mmt

A name is what --config-file takes.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default="", help="list this folder of configs/ alone")


def run(arguments: argparse.Namespace) -> None:
    from mmt_plugin.recipes import recipes

    for name, summary in recipes(arguments.folder):
        print(f"{name:<50}{summary}")
