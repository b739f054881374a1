"""Hooks and the start-up banner."""

import logging
from types import SimpleNamespace

import pytest

from mmt_plugin.engine.banner import ema_horizon, images_per_bn, log_banner
from mmt_plugin.engine.hooks import CheckpointHook, EMAHook


@pytest.mark.parametrize(
    ("warmup", "expected"), [(True, [0.0, 0.5, 2 / 3, 0.75, 0.75]), (False, [0.75, 0.75, 0.75, 0.75, 0.75])]
)
def test_ema_warmup_follows_the_published_schedule(warmup, expected):
    used = []
    hook = EMAHook(0.75, warmup)
    for step in range(5):
        model = SimpleNamespace(update_teachers=used.append)
        hook.trainer = SimpleNamespace(iter=step, raw_model=model, step_was_skipped=False)
        hook.after_step()
    assert used == pytest.approx(expected)


@pytest.mark.parametrize(
    ("period", "expected"),
    [(2, ["model_0001", "model_0003", "model_final"]), (0, ["model_final"]), (5, ["model_final"])],
)
def test_checkpoints_by_period_and_a_final_one(period, expected):
    saved = []
    hook = CheckpointHook(period)
    checkpointer = SimpleNamespace(save=lambda name, epoch: saved.append(name))
    for epoch in range(5):
        hook.trainer = SimpleNamespace(epoch=epoch, max_epoch=5, checkpointer=checkpointer)
        hook.after_epoch()
    assert saved == expected


def test_images_per_bn(tiny_config, monkeypatch):
    cfg = tiny_config()
    assert images_per_bn(cfg) == 8
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: 4)
    assert images_per_bn(cfg) == 2
    assert images_per_bn(tiny_config(MODEL__BACKBONE__NORM="syncBN")) == 8


@pytest.mark.parametrize(
    ("overrides", "warnings"),
    [
        ({"MMT__EMA__ALPHA": 0.5, "SOLVER__MAX_EPOCH": 10}, []),
        ({"MMT__EMA__ALPHA": 0.99, "SOLVER__MAX_EPOCH": 10}, ["will lag behind"]),
        ({"MMT__EMA__ALPHA": 0.5, "SOLVER__MAX_EPOCH": 10, "MMT__IMAGES_PER_BN": 16}, ["images per BN: 8"]),
    ],
)
def test_banner_warns_where_the_run_differs_from_the_recipe(tiny_config, caplog, overrides, warnings):
    logging.getLogger("fastreid").propagate = True
    with caplog.at_level(logging.INFO):
        log_banner(tiny_config(**overrides), 60, 2)
    messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(messages) == len(warnings)
    assert all(text in message for text, message in zip(warnings, messages, strict=True))
    assert "images per BN: 8" in caplog.text


def test_ema_horizon(tiny_config):
    assert ema_horizon(tiny_config(MMT__EMA__ALPHA=0.999)) == pytest.approx(1000)
