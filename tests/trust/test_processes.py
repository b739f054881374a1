"""Processes that die, get in each other's way, or are asked to stop."""

import contextlib
import os
import random
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from killed_runs import Run, gone

pytestmark = pytest.mark.fault

# Short epochs, and more of them than any test waits for.
ENDLESS = {"SOLVER__MAX_EPOCH": 1000, "SOLVER__CHECKPOINT_PERIOD": 0, "TEST__EVAL_PERIOD": 1}
TWO_RANKS = ("--num-gpus", 2, "--dist-url", "auto")
BOUND = 60  # seconds until a run that lost a process must have ended, and all of its processes with it
# Handles of tensors on their way from a loader worker, three a batch and their sockets: 13 at most were seen.
ON_THEIR_WAY = 18
NEW_EPOCH = "Pseudo labels of 60 images"


@pytest.fixture
def start(reference, folder, datasets_root):
    """Start an endless adaptation and wait for its second epoch; what is left of it is killed after the
    test.
    """
    weights = tuple(str(reference.folder / f"source_seed{seed}" / "model_final.pth") for seed in (1, 2))
    runs = []

    def begin(*arguments) -> Run:
        runs.append(Run(folder, datasets_root, *arguments, MMT__WEIGHTS=weights, **ENDLESS))
        runs[-1].wait_for(NEW_EPOCH, times=2)
        return runs[-1]

    yield begin
    for run in runs:
        for process in run.family():
            process.kill()


def ends_with_an_error(run: Run) -> str:
    """Wait for the end of a run and all of its processes; returns its last line."""
    assert run.wait(BOUND) > 0, run.text()[-3000:]
    gone(run, BOUND)
    return run.last_line()


def test_a_loader_worker_that_dies_ends_the_run(start, observe):
    run = start()
    workers = [p for p in psutil.Process(run.process.pid).children() if p.name() == "pt_data_worker"]
    workers[-1].kill()
    line = ends_with_an_error(run)
    assert "DataLoader worker" in run.text()
    observe("SIGKILL to a loader worker", f"{line}; no process left", "the epoch")


def test_a_rank_that_dies_ends_the_run(start, observe):
    run = start(*TWO_RANKS)
    children = psutil.Process(run.process.pid).children()
    ranks = [p for p in children if "spawn_main" in " ".join(p.cmdline())]
    assert len(ranks) == 2
    ranks[1].kill()
    ends_with_an_error(run)
    found = re.findall("process . terminated with signal SIGKILL|Connection reset by peer", run.text())
    assert found
    observe("SIGKILL to one of two ranks", f"error: {found[-1]}; no process left", "the epoch")


@pytest.mark.parametrize("series", range(4))
def test_two_ranks_that_are_asked_to_stop_write_a_checkpoint(start, observe, soak, series):
    """At random moments: the run's first process, as a user asks, and all with their workers, as torchrun and
    batch systems do.
    """
    if not soak:
        pytest.skip("in `make soak`")
    moments, began = random.Random(series), 0
    for attempt in range(5):
        run = start(*TWO_RANKS, "--resume")
        run.wait_for(NEW_EPOCH, times=began + 2)
        time.sleep(moments.uniform(0, 3))
        number = moments.choice([signal.SIGTERM, signal.SIGHUP])
        if (attempt + series) % 2:
            os.killpg(run.process.pid, number)
        else:
            run.kill(number)
        assert run.wait(BOUND) == 128 + number, run.text()[-3000:]
        gone(run, BOUND)
        assert (run.folder / "last_checkpoint").read_text() == "model_stopped.pth"
        began = run.text().count(NEW_EPOCH)
    observe(
        "SIGTERM or SIGHUP to two ranks, or to them and their workers, at a random moment (seeded)",
        "checkpoint written, exit status 128 and the signal's number, no process left",
        times=5,
    )


def test_a_run_keeps_its_folder_does_not_grow_and_stops_when_asked(start, datasets_root, observe, soak):
    """Memory, file handles, threads and processes, epoch by epoch; a second run meanwhile; and in the end
    what a batch system does, which asks every process of a job to stop.
    """
    run = start()
    config = (run.folder / "config.yaml").read_bytes()
    second = Run(run.folder, datasets_root, "--resume", SEED=7)
    assert second.wait() == 2
    line = re.search(r"error: OUTPUT_DIR.*in use.*", run.text()).group()
    assert f"in use by another run (process {run.process.pid})" in line
    assert (run.folder / "config.yaml").read_bytes() == config
    observe("a second run into the same OUTPUT_DIR", line)

    epochs = 60 if soak else 8
    used = []
    while len(used) < epochs:
        run.wait_for(NEW_EPOCH, times=run.text().count(NEW_EPOCH) + 1)
        used.append(resources(run))
    early, late = used[epochs // 4 : epochs // 2], used[epochs // 2 :]
    for name in ("files", "threads", "processes"):
        assert min(u[name] for u in late) <= max(u[name] for u in early), (name, used)
    assert min(u["on their way"] for u in late) < ON_THEIR_WAY, used
    before, after = (sum(u["memory"] for u in part) / len(part) / 2**20 for part in (early, late))
    assert after - before < 20, used
    observe(
        f"{epochs} epochs of clustering, training and evaluation",
        f"{late[-1]['threads']} threads, {late[-1]['processes']} processes, at most "
        f"{max(u['files'] for u in late)} open files (before: {max(u['files'] for u in early)}); memory "
        f"{before:.0f} MB in the second quarter, {after:.0f} MB in the second half",
        times=epochs,
    )

    os.killpg(run.process.pid, signal.SIGTERM)
    assert run.wait(BOUND) == 128 + signal.SIGTERM, run.text()[-3000:]
    gone(run, BOUND)
    assert (run.folder / "model_stopped.pth").exists()
    observe(
        "SIGTERM to a run and its workers at once", "checkpoint written, exit status 143, no process left"
    )


def resources(run: Run) -> dict[str, int]:
    main = psutil.Process(run.process.pid)
    files = open_files(run)
    on_their_way = sum(file.startswith(("/dev/shm/torch_", "socket:")) for file in files)
    with main.oneshot():
        return {
            "memory": main.memory_info().rss,
            "files": len(files) - on_their_way,
            "on their way": on_their_way,
            "threads": main.num_threads(),
            "processes": len(main.children(recursive=True)),
        }


def open_files(run: Run) -> list[str]:
    """What the file handles of a run refer to."""
    found = []
    for handle in Path(f"/proc/{run.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(handle))
    return found
