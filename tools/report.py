#!/usr/bin/env python
"""Write the report of a run, again or for the first time.

    python tools/report.py logs/market2duke

The page, report.html in the run's folder, is one file with everything in it. Pictures need the data sets,
below the folder that FASTREID_DATASETS names; without them the page says what is missing.
"""

import argparse
import sys

from mmt_plugin.config import ConfigError
from mmt_plugin.report.collect import NoRunError
from mmt_plugin.report.page import write_report
from mmt_plugin.report.records import RecordError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="OUTPUT_DIR of a run")
    arguments = parser.parse_args()
    try:
        print(write_report(arguments.run))
    except (ConfigError, NoRunError, RecordError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
