"""Processes that die, get in each other's way, or are asked to stop."""

import os
import signal
import time

import psutil
import pytest
from runs import Run, gone

pytestmark = pytest.mark.fault

LONG = {"SOLVER__ITERS_PER_EPOCH": 5000, "SOLVER__CHECKPOINT_PERIOD": 0}
BOUND = 60  # seconds until a run that lost a process must have ended, and all of its processes with it
ADAPTING = "Mutual Mean-Teaching\n  training on SynthMetro"


@pytest.fixture
def sources(reference) -> tuple[str, ...]:
    """Finished source models, so that a run goes to adaptation at once."""
    return tuple(str(reference.folder / f"source_seed{seed}" / "model_final.pth") for seed in (1, 2))


@pytest.fixture
def start(folder, datasets_root, sources):
    """Start an endless adaptation and wait until it trains; what is left of it is killed after the test."""
    runs = []

    def begin(*arguments, **keys) -> Run:
        runs.append(Run(folder, datasets_root, *arguments, **{**LONG, "MMT__WEIGHTS": sources, **keys}))
        runs[-1].wait_for("Pseudo labels of 60 images")
        time.sleep(1)
        return runs[-1]

    yield begin
    for run in runs:
        for process in run.family():
            process.kill()


def children(run: Run, text: str = "") -> list[psutil.Process]:
    """Descendants whose command line holds a text, those that use most memory first."""
    found = [
        p for p in psutil.Process(run.process.pid).children(recursive=True) if text in " ".join(p.cmdline())
    ]
    return sorted(found, key=lambda p: -p.memory_info().rss)


def ends_with_an_error(run: Run) -> tuple[float, str]:
    """Wait for the end of a run and all of its processes; seconds that took, and the last line."""
    begun = time.monotonic()
    status = run.wait(BOUND)
    assert status not in (0, None), run.text()[-3000:]
    gone(run, BOUND)
    return time.monotonic() - begun, run.last_line()


def test_a_loader_worker_that_dies_ends_the_run(start, observe):
    run = start()
    children(run)[0].kill()
    seconds, line = ends_with_an_error(run)
    assert "DataLoader worker" in run.text()
    observe("SIGKILL to a loader worker", f"{line}; no process left after {BOUND} s at most")


def test_a_rank_that_dies_ends_the_run(start, observe):
    run = start("--num-gpus", 2, "--dist-url", "auto")
    ranks = [
        p for p in psutil.Process(run.process.pid).children() if "resource_tracker" not in str(p.cmdline())
    ]
    assert len(ranks) == 2
    ranks[1].kill()
    seconds, line = ends_with_an_error(run)
    assert "terminated with signal SIGKILL" in run.text() or "Connection" in run.text()
    observe("SIGKILL to one of two ranks", f"{line}; no process left after {BOUND} s at most")


@pytest.mark.parametrize("arguments", [(), ("--num-gpus", 2, "--dist-url", "auto")])
def test_a_whole_group_that_is_asked_to_stop_writes_a_checkpoint(start, observe, arguments):
    """As a batch system does, which asks every process of a job."""
    run = start(*arguments)
    os.killpg(run.process.pid, signal.SIGTERM)
    assert run.wait(BOUND) == 128 + signal.SIGTERM, run.text()[-3000:]
    gone(run, BOUND)
    assert (run.folder / "model_stopped.pth").exists()
    kind = "two ranks, their workers and their parent" if arguments else "a run and its workers"
    observe(f"SIGTERM to {kind} at once", "checkpoint written, exit status 143, no process left")


def test_two_runs_in_one_folder_are_refused(start, datasets_root, observe):
    first = start()
    config = (first.folder / "config.yaml").read_bytes()
    second = Run(first.folder, datasets_root, "--resume", SEED=7)
    assert second.wait() == 1
    line = second.last_line()
    assert f"in use by another run (process {first.process.pid})" in line
    assert (first.folder / "config.yaml").read_bytes() == config
    assert first.process.poll() is None
    observe("a second run into the same OUTPUT_DIR", line)


def test_a_finished_run_is_not_overwritten(reference, datasets_root, observe):
    config = (reference.folder / "config.yaml").read_bytes()
    again = Run(reference.folder, datasets_root, SEED=7)
    assert again.wait() == 1
    assert (reference.folder / "config.yaml").read_bytes() == config
    assert "already holds a run" in again.last_line()
    observe("a new run into the folder of a finished one", again.last_line())


def test_nothing_grows_with_the_number_of_clusterings(start, observe, soak):
    """Memory, file handles, threads and processes, epoch by epoch."""
    epochs, warm = (60, 12) if soak else (7, 3)
    run = start(SOLVER__ITERS_PER_EPOCH=2, SOLVER__MAX_EPOCH=1000)
    used = []
    for epoch in range(epochs):
        run.wait_for("Pseudo labels of 60 images", times=epoch + 2)
        used.append(resources(run))
    early, late = used[warm:][: len(used[warm:]) // 2], used[warm:][len(used[warm:]) // 2 :]
    for name in ("files", "threads", "processes"):
        assert max(u[name] for u in late) <= max(u[name] for u in early), (name, used)
    megabytes = [sum(u["memory"] for u in part) / len(part) / 2**20 for part in (early, late)]
    growth = megabytes[1] - megabytes[0]
    assert growth < (15 if soak else 40), used
    observe(
        f"{epochs} epochs of clustering, training and evaluation",
        f"{late[-1]['files']} files, {late[-1]['threads']} threads, {late[-1]['processes']} processes as in the "
        f"first epochs; memory {megabytes[0]:.0f} MB in the first, {megabytes[1]:.0f} MB in the second half",
        times=epochs,
    )


def resources(run: Run) -> dict[str, int]:
    main = psutil.Process(run.process.pid)
    with main.oneshot():
        return {
            "memory": main.memory_info().rss,
            "files": main.num_fds(),
            "threads": main.num_threads(),
            "processes": len(main.children(recursive=True)),
        }
