"""Stages side by side, each in a process of its own."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .errors import EvidenceError
from .stages import Stage

# What a stage's process prints goes into this file of its folder.
OUTPUT = "output.txt"
TAIL_LINES = 15
# Seconds between two looks at the processes, and those that one has to write its checkpoint and end.
PERIOD, PATIENCE = 0.2, 120


@dataclass(frozen=True)
class Failure:
    """A stage that did not run to its end.

    Attributes:
        stage: which.
        reason: one sentence.
        log: the last lines it printed; "" where it was not started.
    """

    stage: Stage
    reason: str
    log: str = ""


def run_stages(stages: Iterable[Stage], jobs: int, finish: Callable[[Stage], None]) -> list[Failure]:
    """Run what is not complete, in the order given, as far as its needs allow.

    A stage that fails takes with it only those that need it. If the caller is interrupted, running stages
    are asked to stop; they write a checkpoint, and go on in the next call. The processes share the cores,
    unless the caller's OMP_NUM_THREADS says how many each takes.

    Args:
        stages: not complete; what they need is added before them.
        jobs: processes at a time.
        finish: called with each stage given, once it is complete. May raise an EvidenceError, which makes
            the stage a failure.

    Returns:
        What failed.
    """
    wanted = list(stages)
    waiting = list(dict.fromkeys(each for stage in wanted for each in _with_needs(stage)))
    failures: dict[Stage, Failure] = {}
    running: dict[Stage, subprocess.Popen] = {}
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // jobs))
    total = sum(not stage.finished for stage in waiting)
    number = 0
    with ExitStack() as cleanup:
        cleanup.callback(_stop, running)
        while waiting or running:
            for stage in [stage for stage, process in running.items() if process.poll() is not None]:
                status = running.pop(stage).returncode
                if status or not stage.finished:
                    failures[stage] = Failure(stage, f"ended with status {status}", _tail(stage.folder))
                    print(f"failed: {stage.name}", flush=True)
                else:
                    print(f"complete: {stage.name}", flush=True)
                    if stage in wanted:
                        try:
                            finish(stage)
                        except EvidenceError as error:
                            failures[stage] = Failure(stage, str(error))
            for stage in list(waiting):
                broken = [need for need in stage.needs if need in failures]
                if broken:
                    failures[stage] = Failure(stage, f"needs {broken[0].name}, which failed")
                elif stage.finished:
                    pass
                elif len(running) < jobs and all(need.finished for need in stage.needs):
                    number += 1
                    print(f"[{number}/{total}] {stage.name}\n$ {shlex.join(stage.command)}", flush=True)
                    running[stage] = _start(stage, threads)
                else:
                    continue
                waiting.remove(stage)
            if running:
                time.sleep(PERIOD)
    return list(failures.values())


def _with_needs(stage: Stage) -> Iterator[Stage]:
    """A stage after all that must be complete before it."""
    for need in stage.needs:
        yield from _with_needs(need)
    yield stage


def _start(stage: Stage, threads: str) -> subprocess.Popen:
    stage.folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    with open(stage.folder / OUTPUT, "w") as output:
        # In a session of its own: Ctrl-C reaches the caller alone, which then asks each stage to stop, once.
        return subprocess.Popen(
            stage.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _stop(running: dict[Stage, subprocess.Popen]) -> None:
    for process in running.values():
        process.terminate()
    for process in running.values():
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tail(folder: Path) -> str:
    return "\n".join((folder / OUTPUT).read_text(errors="replace").splitlines()[-TAIL_LINES:])
