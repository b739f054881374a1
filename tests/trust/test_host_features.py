"""Whatever a configuration switches on: a run that is stopped within an epoch and resumed ends with the bits
of one that was not.
"""

import signal

import pytest
from killed_runs import differences

from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.pipeline import train
from mmt_plugin.engine.resume.stopping import Stopped
from mmt_plugin.engine.training_step import TrainingStep

pytestmark = pytest.mark.fault

STOP_AFTER = 2  # the first iteration of the second epoch
COMMON = {
    "SOLVER__ITERS_PER_EPOCH": 2,
    "SOLVER__MAX_EPOCH": 2,
    "SOLVER__CHECKPOINT_PERIOD": 0,
    "TEST__EVAL_PERIOD": -1,
    "MMT__SOURCE__PRETRAIN": False,
    "MMT__RESET_OPTIMIZER": False,
}
# What they have that keeps a state: each of them, and the recipe.
FEATURES = {
    "frozen layers, cosine, warm-up by epochs, clipping, gradient checkpointing, bfloat16": (
        "plaza2metro_mmt",
        {
            "MODEL__FREEZE_LAYERS": ["backbone"],
            "SOLVER__FREEZE_ITERS": STOP_AFTER + 1,
            "SOLVER__SCHED": "CosineAnnealingLR",
            "SOLVER__WARMUP_EPOCHS": 1.0,
            "SOLVER__WARMUP_STEP": "before_epoch",
            "SOLVER__CLIP_GRADIENTS__ENABLED": True,
            "MODEL__BACKBONE__GRADIENT_CHECKPOINTING": True,
            "SOLVER__AMP__ENABLED": True,
        },
    ),
    "joint batches, DSBN, MoCo, SGD, skipped steps and images, an image cache, warm-up by iterations": (
        "plaza2metro_mmt_plus",
        {
            "MMT__MOCO__QUEUE_SIZE": 20,
            "SOLVER__OPT": "SGD",
            "SOLVER__ON_BAD_STEP": "skip",
            "DATALOADER__ON_BAD_IMAGE": "skip",
            "DATALOADER__CACHE": "cache",
            "SOLVER__WARMUP_ITERS": 3,
            "SOLVER__STEPS": [1],
        },
    ),
    "Adagrad, a delayed decay, dropout, averaged BN statistics, clipping by value, the label-free choice": (
        "plaza2metro_mmt",
        {
            "SOLVER__OPT": "Adagrad",
            "SOLVER__DELAY_EPOCHS": 1,
            "SOLVER__STEPS": [1],
            "MODEL__HEADS__DROPOUT": 0.3,
            "MMT__EMA__BN_STATISTICS": "student",
            "SOLVER__CLIP_GRADIENTS__ENABLED": True,
            "SOLVER__CLIP_GRADIENTS__CLIP_TYPE": "value",
            "MMT__SELECTION__RULE": "stable",
            "DATASETS__TESTS": (),
        },
    ),
}


@pytest.mark.parametrize("features", FEATURES)
def test_a_stopped_and_resumed_run_ends_bit_equal(features, tiny_config, tmp_path, monkeypatch, observe):
    recipe, keys = FEATURES[features]
    if "DATALOADER__CACHE" in keys:
        keys = {**keys, "DATALOADER__CACHE": str(tmp_path / "cache")}
    monkeypatch.setattr("mmt_plugin.engine.training_step.cpu_has_bfloat16", lambda: True)
    whole, parts = (
        tiny_config(recipe, OUTPUT_DIR=str(tmp_path / name), **COMMON, **keys) for name in ("whole", "parts")
    )
    run_step, update = MMTTrainer.run_step, TrainingStep.update

    def run_until_stopped(trainer):
        run_step(trainer)
        if trainer.iter == STOP_AFTER:
            trainer.stop._receive(signal.SIGTERM, None)

    def spoil_one(step, losses, *arguments):
        """One step whose loss is not finite, where such steps are skipped."""
        if step.limit and step.iter == 1:
            losses = {name: value * float("nan") for name, value in losses.items()}
        return update(step, losses, *arguments)

    monkeypatch.setattr(TrainingStep, "update", spoil_one)
    train(whole, resume=False)
    with monkeypatch.context() as patch:
        patch.setattr(MMTTrainer, "run_step", run_until_stopped)
        with pytest.raises(Stopped):
            train(parts, resume=False)
    train(parts, resume=True)
    assert differences(tmp_path / "parts", tmp_path / "whole") == []
    observe(f"SIGTERM in an epoch, with {features}", "--resume ends with bit-equal weights and records")
