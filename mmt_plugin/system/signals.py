"""Signals that ask a run to stop: Ctrl-C, SIGTERM, and a terminal that closes."""

import atexit
import multiprocessing
import signal

# Not every system has all of them.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def heeded() -> list[signal.Signals]:
    """Those that this process was not started to ignore, as nohup has SIGHUP ignored."""
    return [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]


def leave_signals_to_the_main_process(_: int) -> None:
    """Keep a loader worker working while its main process, which terminals, torchrun and batch systems signal
    as well, finishes what it does and writes a checkpoint. The worker ends when that closes its loader, or is
    gone.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers_that_are_left() -> None:
    """Workers of a loader that nobody closed: Python would ask them to end, and wait for ever."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
