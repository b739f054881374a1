"""Whatever a configuration switches on: a run that is stopped or killed at any iteration and resumed ends
with the bits of one that was not.
"""

import os
import random
import signal
import traceback
import zlib
from pathlib import Path

import pytest
from host_features import FEATURES, TOGETHER, keys_of
from killed_runs import differences

from mmt_plugin.data import unreadable
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.pipeline import train
from mmt_plugin.engine.resume.stopping import Stopped
from mmt_plugin.engine.training_step import TrainingStep
from mmt_plugin.system.decoding import UnreadableImageError

pytestmark = pytest.mark.fault

EPOCHS, STEPS = 2, 2
COMMON = {
    "SOLVER__ITERS_PER_EPOCH": STEPS,
    "SOLVER__MAX_EPOCH": EPOCHS,
    "SOLVER__CHECKPOINT_PERIOD": 1,
    "TEST__EVAL_PERIOD": -1,
    "MMT__SOURCE__PRETRAIN": False,
}


@pytest.fixture
def configured(tiny_config, tmp_path, monkeypatch):
    """A function: names of features, a folder -> the configuration of a run. Where bad steps or images are to
    be skipped, there are some.
    """
    monkeypatch.setattr("mmt_plugin.engine.training_step.cpu_has_bfloat16", lambda: True)
    update, skips = TrainingStep.update, []

    def spoil_one(step, losses, *arguments):
        if step.limit and step.iter == 1:
            losses = {name: value * float("nan") for name, value in losses.items()}
        return update(step, losses, *arguments)

    def spoil_some(path):
        if skips and "bounding_box_train" in path and zlib.crc32(Path(path).name.encode()) % 17 == 0:
            raise UnreadableImageError(f"{path} cannot be read as an image")
        return read(path)

    read = unreadable.read_image
    monkeypatch.setattr(unreadable, "read_image", spoil_some)
    monkeypatch.setattr(TrainingStep, "update", spoil_one)

    def make(names: list[str], folder: str):
        keys = {**COMMON, **keys_of(names)}
        if "DATALOADER__CACHE" in keys:
            keys["DATALOADER__CACHE"] = str(tmp_path / keys["DATALOADER__CACHE"])
        skips[:] = [key for key in keys if key == "DATALOADER__ON_BAD_IMAGE"]
        return tiny_config(OUTPUT_DIR=str(tmp_path / folder), **keys)

    return make


@pytest.mark.parametrize("number", range(len(TOGETHER)))
def test_a_stopped_and_resumed_run_ends_bit_equal(number, configured, tmp_path, monkeypatch, observe):
    whole, parts = (configured(TOGETHER[number], folder) for folder in ("whole", "parts"))
    stop_after = random.Random(number).randrange(1, EPOCHS * STEPS - 1)
    run_step = MMTTrainer.run_step

    def run_until_stopped(trainer):
        run_step(trainer)
        if trainer.iter == stop_after:
            trainer.stop._receive(signal.SIGTERM, None)

    train(whole, resume=False)
    with monkeypatch.context() as patch:
        patch.setattr(MMTTrainer, "run_step", run_until_stopped)
        with pytest.raises(Stopped):
            train(parts, resume=False)
    train(parts, resume=True)
    assert differences(tmp_path / "parts", tmp_path / "whole") == []
    observe(
        f"SIGTERM at a random iteration (seeded), with {', '.join(TOGETHER[number])}",
        "--resume ends with bit-equal weights and records",
    )


def train_until_struck(cfg, number: signal.Signals, iteration: int) -> None:
    """Train in a process of its own, which gets a signal in an iteration, counted from the run's start."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 3, -number), f"exit status {status}"
        return
    status, run_step = 1, MMTTrainer.run_step
    try:

        def struck(trainer):
            if trainer.iter == iteration:
                os.kill(os.getpid(), number)
            run_step(trainer)

        MMTTrainer.run_step = struck
        train(cfg, resume=True)
        status = 0
    except Stopped:
        status = 3
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def test_every_feature_killed_at_random_iterations(configured, tmp_path, observe, soak):
    """Each alone, and all pairs of a random draw, by both signals."""
    if not soak:
        pytest.skip("in `make soak`")
    draw = random.Random(0)
    matrix = [[name] for name in FEATURES]
    while len(matrix) < len(FEATURES) + 20:
        pair = draw.sample(sorted(FEATURES), 2)
        keys = [FEATURES[name].keys() for name in pair]
        if not keys[0] & keys[1]:
            matrix.append(pair)
    failed = {}
    for number, names in enumerate(matrix):
        whole, parts = (configured(names, f"{folder}{number}") for folder in ("whole", "parts"))
        train(whole, resume=False)
        strikes = [(kind, draw.randrange(EPOCHS * STEPS)) for kind in (signal.SIGKILL, signal.SIGTERM)]
        draw.shuffle(strikes)
        for kind, iteration in strikes:
            train_until_struck(parts, kind, iteration)
        train(parts, resume=True)
        if found := differences(tmp_path / f"parts{number}", tmp_path / f"whole{number}"):
            failed[", ".join(names)] = strikes, found
    assert failed == {}
    happened = "--resume ends with bit-equal weights and records"
    observe(
        "SIGKILL and SIGTERM at random iterations (seeded), each feature alone", happened, times=len(FEATURES)
    )
    observe("the same with random pairs of features", happened, times=20)
