"""Jobs side by side, each in a process of its own, which stops when this one ends."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mmt_plugin.commands.environment import cores

from .claim import claim
from .errors import AblationError
from .jobs import Job

# What a job's process prints goes into this file of its folder, after what earlier ones printed.
OUTPUT = "output.txt"
TAIL_LINES = 15
# Seconds between two looks at the processes, and those that one has to write its checkpoint and end.
PERIOD, PATIENCE = 0.2, 120
# Through it a process learns of this one's end; where it cannot, a claimed folder is waited for.
BOUND = Path(__file__).with_name("bound.py")


@dataclass(frozen=True)
class Failure:
    """A job that did not run to its end.

    Attributes:
        job: which.
        reason: one sentence.
        log: the last lines it printed; "" where it was not started.
    """

    job: Job
    reason: str
    log: str = ""


def run_jobs(jobs: Iterable[Job], processes: int, finish: Callable[[Job], None]) -> list[Failure]:
    """Run what is not complete, in the order given, as far as its needs allow.

    A job that fails takes with it only those that need it. If the caller is interrupted or dies, running jobs
    are asked to stop; they write a checkpoint, and go on in the next call, which waits for those that are
    still at it, as for those of another call. The processes share the cores, unless the caller's
    OMP_NUM_THREADS says how many each takes.

    Args:
        jobs: not complete; what they need is added before them.
        processes: at a time.
        finish: called with each job given, once it is complete. May raise an AblationError, which makes the
            job a failure.

    Returns:
        What failed.
    """
    wanted = list(jobs)
    waiting = list(dict.fromkeys(each for job in wanted for each in _with_needs(job)))
    failures: dict[Job, Failure] = {}
    running: dict[Job, subprocess.Popen] = {}
    elsewhere: set[Job] = set()
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // processes))
    total = sum(not job.finished for job in waiting)
    number = 0

    def complete(job: Job) -> None:
        print(f"complete: {job.name}", flush=True)
        if job in wanted:
            try:
                finish(job)
            except AblationError as error:
                failures[job] = Failure(job, str(error))

    with ExitStack() as cleanup:
        cleanup.callback(_stop, running)
        while waiting or running:
            for job in [job for job, process in running.items() if process.poll() is not None]:
                status = running.pop(job).returncode
                if status or not job.finished:
                    failures[job] = Failure(job, f"ended with status {status}", _tail(job.folder))
                    print(f"failed: {job.name}", flush=True)
                else:
                    complete(job)
            for job in list(waiting):
                broken = [need for need in job.needs if need in failures]
                if broken:
                    failures[job] = Failure(job, f"needs {broken[0].name}, which failed")
                elif job.finished:
                    if job in elsewhere:
                        complete(job)
                elif len(running) < processes and all(need.finished for need in job.needs):
                    if not (process := _start(job, threads)):
                        if job not in elsewhere:
                            print(f"waiting: {job.name}: a process works in {job.folder}", flush=True)
                        elsewhere.add(job)
                        continue
                    number += 1
                    print(f"[{number}/{total}] {job.name}\n$ {shlex.join(job.command)}", flush=True)
                    running[job] = process
                else:
                    continue
                waiting.remove(job)
            if waiting or running:
                time.sleep(PERIOD)
    return list(failures.values())


def _with_needs(job: Job) -> Iterator[Job]:
    """A job after all that must be complete before it."""
    for need in job.needs:
        yield from _with_needs(need)
    yield job


def _start(job: Job, threads: str) -> subprocess.Popen | None:
    """The job's process; None where another one is at work in its folder."""
    if not (held := claim(job.folder)):
        return None
    # Threads that spin while they wait take the cores from the processes beside them.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": threads}
    with held, open(job.folder / OUTPUT, "a") as output:
        # In a session of its own: Ctrl-C reaches the caller alone, which then asks each job to stop, once.
        return subprocess.Popen(
            [sys.executable, str(BOUND), str(os.getpid()), *job.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=[held.fileno()],
        )


def _stop(running: dict[Job, subprocess.Popen]) -> None:
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
