"""Run tools/train_net.py, and send a signal to itself at the n-th call of a function:

python victim.py SIGKILL mmt_plugin.engine.hooks.pseudo_labels:cluster 2 --config-file ...
"""

import importlib
import os
import runpy
import signal
import sys
from pathlib import Path

TRAIN_NET = Path(__file__).parents[2] / "tools" / "train_net.py"


def strike(number: signal.Signals, target: str, call: int) -> None:
    """Replace a function by one that sends the signal at its n-th call, then goes on."""
    module, path = target.split(":")
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), iter(range(1, 10**9))

    def struck(*args, **kwargs):
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(owner, name, struck)


if __name__ == "__main__":
    import mmt_plugin.engine  # noqa: F401  (repairs the host, whose modules may be the target)

    strike(signal.Signals[sys.argv[1]], sys.argv[2], int(sys.argv[3]))
    sys.argv = [str(TRAIN_NET), *sys.argv[4:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
