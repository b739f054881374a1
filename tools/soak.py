#!/usr/bin/env python
"""Inject every fault that the tests know, and write down what happened.

    python tools/soak.py --output docs/faults.md              # as `make soak`: about half an hour
    python tools/soak.py --output docs/faults.md --short      # each fault as often as `make test` does
    python tools/soak.py --output docs/faults.md tests/trust -k ranks     # a piece of it

What each test saw last is kept in build/soak.json: pieces that ran at different times make one table, which
names the commits they ran at; a run of all begins anew. The exit status is that of the tests.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, type=Path, help="Markdown file for the table")
    parser.add_argument("--records", type=Path, default=REPOSITORY / "build" / "soak.json", metavar="FILE")
    parser.add_argument("--short", action="store_true", help="inject each fault a few times only")
    arguments, piece = parser.parse_known_args()
    sys.path.insert(0, str(REPOSITORY / "tests" / "helpers"))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = ["-p", "fault_table", "--fault-table", str(arguments.output), "-m", "fault", "-n", "0"]
    options += ["--fault-records", str(arguments.records), "--code", commit()]
    if not arguments.short:
        options.append("--soak")
    if not piece:
        arguments.records.unlink(missing_ok=True)
    if not any(Path(word.partition("::")[0]).exists() for word in piece):
        piece.append(str(REPOSITORY / "tests"))
    return pytest.main([*options, *piece])


def commit() -> str:
    """What git calls the code; nothing outside a checkout."""
    words = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
