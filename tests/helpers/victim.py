"""The training tool in a process of its own, forked from one that has everything imported: that saves each of
them seconds. It may send a signal to itself at the n-th call of a function.
"""

import atexit
import importlib
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

TRAIN_NET = Path(__file__).parents[2] / "tools" / "train_net.py"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["mmt_plugin.commands.job", "victim"])


class Strike(NamedTuple):
    """A signal at the n-th call of a function, "module:name" or "module:Class.name"."""

    number: str
    target: str
    call: int

    def prepare(self) -> None:
        """Replace the function by one that sends the signal at that call, then goes on."""
        module, path = self.target.split(":")
        owner = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        original, calls = getattr(owner, name), iter(range(1, 10**9))

        def struck(*args, **kwargs):
            if next(calls) == self.call:
                os.kill(os.getpid(), signal.Signals[self.number])
            return original(*args, **kwargs)

        setattr(owner, name, struck)


def train(words: Sequence[object], output: Path, datasets: Path, strike: Strike | None) -> BaseProcess:
    """Start tools/train_net.py with these words.

    Args:
        words: of the command line.
        output: file that what it prints is appended to.
        datasets: FASTREID_DATASETS.
        strike: what happens to it.
    """
    process = SERVER.Process(target=_work, args=(list(map(str, words)), output, str(datasets), strike))
    process.start()
    return process


def _work(words: list[str], output: Path, datasets: str, strike: Strike | None) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it, and so would we
    multiprocessing.set_start_method(None, force=True)  # its own workers are those of any other process
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(FASTREID_DATASETS=datasets, OMP_NUM_THREADS="1")
    if strike:
        strike.prepare()
    sys.argv = [str(TRAIN_NET), *words]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # as at the end of any other process
