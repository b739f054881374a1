"""Runs of the command-line tool as real processes that can be killed, and what they leave behind."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
from tiny import REPOSITORY, TINY, as_options
from victim import Strike, train

CONFIG = REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml"
# Source pre-training of one epoch, then adaptation with everything that has a state.
SETTINGS = {
    **TINY,
    "DATALOADER.NUM_WORKERS": 1,
    "MODEL.HEADS.DROPOUT": 0.3,
    "MMT.SELECTION.RULE": "best",
    "MMT.SELECTION.DATASET": "SynthMetro",
    "SOLVER.ITERS_PER_EPOCH": 3,
    "SOLVER.MAX_EPOCH": 4,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.CHECKPOINT_KEEP": 2,
    "TEST.EVAL_PERIOD": 1,
    "MMT.SOURCE.OPTS": as_options(
        {
            "SOLVER.ITERS_PER_EPOCH": 2,
            "SOLVER.MAX_EPOCH": 1,
            "SOLVER.IMS_PER_BATCH": 8,
            "DATALOADER.NUM_INSTANCE": 2,
            "SOLVER.WARMUP_ITERS": 0,
            "TEST.EVAL_PERIOD": 1,
        }
    ),
}
# Scalars that depend on the clock.
CLOCK = re.compile(r"time|data_time|\w+_seconds|seconds/.*")
PATIENCE = 600  # seconds; a run takes about ten on an idle machine


class Run:
    """One process that trains into a folder."""

    def __init__(
        self, folder: Path, datasets: Path, *arguments: object, strike: Strike | None = None, **keys
    ):
        """
        Args:
            folder: OUTPUT_DIR.
            datasets: FASTREID_DATASETS.
            arguments: of the tool, such as "--resume".
            strike: a signal that the process sends to itself.
            keys: overrides, "__" for ".".
        """
        settings = {**SETTINGS, "OUTPUT_DIR": folder, **{k.replace("__", "."): v for k, v in keys.items()}}
        words = ["--config-file", CONFIG, *arguments, *as_options(settings)]
        self.folder = folder
        self.output = folder.with_name(f"{folder.name}.out")
        self.output.touch()
        self.process = train(words, self.output, datasets, strike)

    def started(self) -> None:
        self._start = time.monotonic()

    def finished(self) -> None:
        self.seconds = time.monotonic() - self._start

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit status; a signal's number, negative, where one ended it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"no end after {seconds} s: {self.text()[-3000:]}"
        return self.process.exitcode

    def finish(self) -> "Run":
        """Wait for the end of a run that must succeed."""
        status = self.wait()
        assert status == 0, self.text()[-3000:]
        return self

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the run has logged a text so many times."""
        end = time.monotonic() + PATIENCE
        while self.text().count(text) < times:
            assert self.process.exitcode is None, f"ended before {text!r}: {self.text()[-3000:]}"
            assert time.monotonic() < end, f"no {text!r} after {PATIENCE} s: {self.text()[-3000:]}"
            time.sleep(0.02)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.process.pid, number)

    def text(self) -> str:
        """What it has printed so far, and its predecessors in the same folder."""
        return self.output.read_text(errors="replace")

    def last_line(self) -> str:
        return self.text().strip().splitlines()[-1]

    def family(self) -> list[psutil.Process]:
        """The process and all processes of its session."""
        return [p for p in psutil.process_iter() if _session(p.pid) == self.process.pid]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def gone(run: Run, seconds: float = 30) -> float:
    """Wait until no process of a run is left; returns how long that took."""
    start = time.monotonic()
    while any(p.status() != psutil.STATUS_ZOMBIE for p in _living(run)):
        assert time.monotonic() - start < seconds, f"still there: {run.family()}"
        time.sleep(0.1)
    return time.monotonic() - start


def _living(run: Run) -> Iterator[psutil.Process]:
    for process in run.family():
        if process.is_running():
            yield process


def differences(folder: Path, reference: Path) -> list[str]:
    """Names of everything in a run's folder that differs, in a single bit, from the reference's."""
    found = []
    for file in sorted(file for file in reference.rglob("*") if file.is_file()):
        name = str(file.relative_to(reference))
        if "tfevents" in name or file.name in ("log.txt", "config.yaml", ".lock"):
            continue
        if not (folder / name).exists():
            found.append(f"{name} is missing")
        elif not same(_content(folder / name), _content(file)):
            found.append(name)
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        if file.is_file() and "tfevents" not in file.name and not (reference / name).exists():
            found.append(f"{name} is left over")
    return found


def _content(file: Path) -> object:
    if file.suffix == ".pth":
        checkpoint = torch.load(file, weights_only=True)
        state = checkpoint["RunState"]
        scalars = {name: value for name, value in state.pop("scalars").items() if not CLOCK.fullmatch(name)}
        # The record of scalars has its own comparison; its length in bytes varies with the times in it.
        state.update(scalars=scalars, metrics_bytes=None, config=None)
        state["written"] = {
            name: value for name, value in state["written"].items() if not CLOCK.fullmatch(name)
        }
        return checkpoint
    if file.name == "metrics.json":
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        told = [{name: value for name, value in line.items() if not CLOCK.fullmatch(name)} for line in lines]
        return [line for line in told if line.keys() != {"iteration"}]
    if file.name == "results.json":
        return {name: value for name, value in json.loads(file.read_text()).items() if name != "minutes"}
    return file.read_bytes()


def same(a: object, b: object) -> bool:
    """Equality to the last bit of nested containers of tensors and plain values."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    return a == b
