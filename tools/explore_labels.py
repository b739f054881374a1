#!/usr/bin/env python
"""`mmt explore-labels`, from a checkout: see mmt_plugin/commands/explore_labels.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the checkout is not installed

from mmt_plugin.commands.line import tool

if __name__ == "__main__":
    sys.exit(tool("explore-labels"))
