"""Measure the hot paths of the plugin beside the host's and beside this machine's physical floor, in one run.

    python tools/benchmark pseudo-labels --images 12936 32621
    python tools/benchmark pseudo-labels --images 1000000 --size 256 --search tree --without-host
    python tools/benchmark neighbours
    python tools/benchmark evaluation
    python tools/benchmark kmeans
    python tools/benchmark training-step
    python tools/benchmark variants
    python tools/benchmark extraction
    python tools/benchmark epoch
    python tools/benchmark memory
    python tools/benchmark data
    python tools/benchmark growth
    python tools/benchmark all

Every implementation runs in a process of its own, so that peak memory is its own. Close other programs first:
two cores shared with anything else give other numbers.
"""

from mmt_plugin import add_mmt_config  # noqa: F401  (first: it makes fastreid importable)

# isort: split
import argparse

from benchmark import (
    data,
    epoch,
    evaluation,
    extraction,
    growth,
    kmeans,
    memory,
    neighbours,
    pseudo_labels,
    training_step,
    variants,
)
from benchmark.measure import machine

SUBJECTS = {
    "pseudo-labels": pseudo_labels,
    "neighbours": neighbours,
    "evaluation": evaluation,
    "kmeans": kmeans,
    "training-step": training_step,
    "variants": variants,
    "extraction": extraction,
    "epoch": epoch,
    "memory": memory,
    "data": data,
    "growth": growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    for name, module in SUBJECTS.items():
        module.add_arguments(subjects.add_parser(name, help=module.__doc__))
    subjects.add_parser("all", help="every subject with its defaults, one after the other")
    arguments = parser.parse_args()
    print(machine())
    if arguments.subject == "all":
        for name, module in SUBJECTS.items():
            print(f"\n## {name}")
            module.run(parser.parse_args([name]))
    else:
        SUBJECTS[arguments.subject].run(arguments)
