"""A run that is stopped at any moment, in any way, ends as if it had not been."""

import random
import signal
import time

import pytest
from killed_runs import Run, differences, gone
from victim import Strike

pytestmark = pytest.mark.fault

# Random moments of `make test`; and of `make soak`, in series that can be run at different times.
KILLS, KILLS_OF_A_SERIES, SERIES = 1, 5, 4
BIT_EQUAL = "--resume ends with bit-equal weights, labels, metrics and records"
REPEATED = "nothing; at most one epoch is computed again"
# The reference run has one.
OTHER_WORKERS = {"DATALOADER__NUM_WORKERS": 0}

# (signal, function at whose n-th call it is sent, n, what that is)
STAGES = [
    ("SIGKILL", "mmt_plugin.engine.pipeline:train", 3, "between pre-training and adaptation"),
    ("SIGKILL", "mmt_plugin.engine.hooks.pseudo_labels:cluster", 1, "in clustering"),
    ("SIGTERM", "mmt_plugin.engine.trainer:MMTTrainer.run_step", 2, "in an epoch"),
    ("SIGKILL", "mmt_plugin.system.files:_Remembering.write", 9, "while a checkpoint is being written"),
    ("SIGINT", "mmt_plugin.engine.evaluate_model:EachNetworkEvaluator.process", 2, "in evaluation"),
    (
        "SIGKILL",
        "mmt_plugin.engine.pipeline:write_results",
        1,
        "after training, before its results are recorded",
    ),
]
MORE_STAGES = [
    ("SIGKILL", "mmt_plugin.engine.trainer:MMTTrainer.run_step", 1, "in pre-training"),
    ("SIGTERM", "mmt_plugin.engine.trainer:MMTTrainer.run_step", 2, "in pre-training"),
    ("SIGKILL", "mmt_plugin.engine.hooks.pseudo_labels:extract_features", 1, "while features are extracted"),
    ("SIGINT", "mmt_plugin.engine.hooks.pseudo_labels:extract_features", 2, "while features are extracted"),
    ("SIGKILL", "mmt_plugin.engine.evaluate_model:EachNetworkEvaluator.process", 1, "in evaluation"),
    ("SIGTERM", "mmt_plugin.engine.evaluate_model:EachNetworkEvaluator.evaluate", 1, "in evaluation"),
    ("SIGKILL", "os:fsync", 4, "while a file is being synced"),
    ("SIGKILL", "os:replace", 3, "before a file takes its name"),
    ("SIGKILL", "pathlib:Path.unlink", 1, "while old checkpoints are being deleted"),
    (
        "SIGKILL",
        "mmt_plugin.engine.pipeline:draw_results",
        1,
        "after training, before its results are recorded",
    ),
]


def interrupt(folder, datasets_root, observe, stages) -> None:
    """One run, stopped at one stage after the other."""
    for number, target, call, stage in stages:
        strike = Strike(number, target, call)
        run = Run(folder, datasets_root, "--resume", strike=strike, **OTHER_WORKERS)
        status = run.wait()
        if number == "SIGKILL":
            assert status == -signal.SIGKILL, f"{stage}: {run.text()[-3000:]}"
        else:
            assert status == 128 + signal.Signals[number], f"{stage}: {run.text()[-3000:]}"
            assert run.last_line() == f"stopped by {number}; continue with --resume"
            assert not gone(run) > 5
        lost = REPEATED if number == "SIGKILL" else "nothing; not one iteration is computed again"
        observe(f"{number} {stage}", BIT_EQUAL, lost)


def test_a_run_stopped_at_every_stage_ends_as_if_it_had_not_been(
    reference, folder, datasets_root, observe, soak
):
    interrupt(folder, datasets_root, observe, STAGES)
    Run(folder, datasets_root, "--resume", **OTHER_WORKERS).finish()
    assert differences(folder, reference.folder) == []
    observe("another number of loader workers", "bit-equal weights, labels and metrics")
    if soak:
        other = folder.with_name("other")
        interrupt(other, datasets_root, observe, MORE_STAGES)
        Run(other, datasets_root, "--resume").finish()
        assert differences(other, reference.folder) == []


@pytest.mark.parametrize("series", range(SERIES))
def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(
    reference, folder, datasets_root, observe, soak, series
):
    if series and not soak:
        pytest.skip("in `make soak`")
    moments, killed, attempts = random.Random(series), 0, 0
    wanted = KILLS_OF_A_SERIES if soak else KILLS
    while killed < wanted:
        attempt = folder.with_name(f"run{attempts}")
        attempts += 1
        starts = 0
        while killed < wanted:
            run = Run(attempt, datasets_root, "--resume")
            starts += 1
            run.wait_for("Rank of current process", times=starts)
            time.sleep(moments.uniform(0, 0.8 * reference.seconds))
            run.kill()
            if run.wait() == 0:
                break  # it was faster
            killed += 1
        Run(attempt, datasets_root, "--resume").finish()
        assert differences(attempt, reference.folder) == []
    observe("SIGKILL at a random moment (seeded)", BIT_EQUAL, REPEATED, times=killed)


def test_two_runs_are_bit_equal_whatever_the_number_of_workers(
    reference, folder, datasets_root, observe, soak
):
    if not soak:
        pytest.skip("in `make soak`; interrupted runs have another number of workers, too")
    Run(folder, datasets_root, DATALOADER__NUM_WORKERS=2).finish()
    assert differences(folder, reference.folder) == []
    observe("another number of loader workers", "bit-equal weights, labels and metrics")
