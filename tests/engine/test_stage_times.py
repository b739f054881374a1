"""The times of an epoch's stages: each counted once, in the epoch it belongs to."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastreid.utils.events import EventStorage
from log_messages import messages_of

from mmt_plugin.engine.hooks.times import EpochTimesHook
from mmt_plugin.engine.pipeline import train


@pytest.fixture
def messages():
    with messages_of("fastreid.mmt") as found:
        yield found


def lines_of(messages: list[str]) -> list[str]:
    return [message for message in messages if " took | " in message]


def test_each_epoch_tells_its_own_times(messages):
    storage, hook = EventStorage(), EpochTimesHook()
    hook.trainer = SimpleNamespace(storage=storage, max_epoch=3)
    storage.put_scalar("training_seconds", 99.0, smoothing_hint=False)  # of before a resumption
    hook.before_train()
    for epoch, (stage, seconds) in enumerate(
        [("training", [1.0]), ("checkpoint", [2.0]), ("extraction", [3.0, 0.5])]
    ):
        hook.trainer.epoch = epoch
        for value in seconds:
            storage.put_scalar(f"{stage}_seconds", value, smoothing_hint=False)
        hook.after_epoch()
    assert lines_of(messages) == [
        "epoch 1/3 took | training 1.0 s",
        "epoch 2/3 took | checkpoint 2.0 s",
        "epoch 3/3 took | features for the labels 3.5 s",
    ]


def test_a_run_records_every_stage(tiny_config, messages):
    cfg = tiny_config(REPORT__ENABLED=True)
    train(cfg, resume=False)
    first, last = lines_of(messages)[-2:]
    start = (
        r"took \| features for the labels .* \| clustering .* \| judging the labels .* \| classifier rows .* "
        r"\| optimiser reset .* \| labels to the sampler .* \| records for the report .* \| training .*"
    )
    assert re.search(start, first)
    assert "checkpoint" not in first
    assert re.search(start + r"\| evaluation .* \| checkpoint ", last)
    recorded = {}
    for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines():
        for name, value in json.loads(line).items():
            recorded.setdefault(name, []).append(value)
    for stage in ("extraction", "clustering", "classifier", "optimizer", "sampler", "first_batch"):
        assert len(recorded[f"{stage}_seconds"]) == 2, stage
        assert all(0 < value < 60 for value in recorded[f"{stage}_seconds"])
    assert len(recorded["evaluation_seconds"]) == 1
    parts = zip(recorded["seconds/k-means"], recorded["seconds/centroids"], strict=True)
    assert all(sum(part) <= whole for part, whole in zip(parts, recorded["clustering_seconds"], strict=True))
