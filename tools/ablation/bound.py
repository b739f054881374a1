"""Become another program that gets SIGTERM when the process that started it ends, however that ends.

    python bound.py PARENT PROGRAM ARGUMENTS...

Linux alone can be asked for that. A program of its own, since `preexec_fn` runs Python between fork and exec,
where signals are lost and threads of the parent may hold locks.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it has ended already
        sys.exit(128 + signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
