#!/usr/bin/env python
"""Inject every fault that the tests know, and write down what happened.

    python tools/soak.py --output docs/faults.md            # as `make soak`: about a quarter of an hour
    python tools/soak.py --output docs/faults.md --short    # each fault as often as `make test` does

The file is written when all is done; the exit status is that of the tests.
"""

import argparse
import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1] / "tests"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="Markdown file for the table")
    parser.add_argument("--short", action="store_true", help="inject each fault a few times only")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS / "helpers"))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = ["-p", "fault_table", "--fault-table", str(arguments.output), "-m", "fault", "--no-cov"]
    if not arguments.short:
        options.append("--soak")
    return pytest.main([*options, str(TESTS)])


if __name__ == "__main__":
    sys.exit(main())
