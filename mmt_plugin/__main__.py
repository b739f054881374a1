"""`python -m mmt_plugin` is the command `mmt`."""

import sys

from mmt_plugin.commands.line import main

if __name__ == "__main__":
    sys.exit(main())
