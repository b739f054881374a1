"""python tools/ablation: see command.py."""

import sys
from pathlib import Path

# Python puts the folder that it runs on the path; the package is found beside it.
sys.path[0] = str(Path(__file__).parents[1])

from ablation.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
