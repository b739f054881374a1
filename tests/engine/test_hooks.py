"""Hooks and the start-up banner."""

import logging
from types import SimpleNamespace

import pytest
import torch
from fastreid.utils.events import EventStorage

from mmt_plugin.engine.banner import ema_horizon, images_per_bn, log_banner
from mmt_plugin.engine.hooks.checkpoints import CheckpointHook
from mmt_plugin.engine.hooks.ema import EMAHook
from mmt_plugin.engine.hooks.selection import SelectionHook


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
        hook.trainer = SimpleNamespace(
            epoch=epoch, max_epoch=5, checkpointer=checkpointer, storage=EventStorage()
        )
        hook.after_epoch()
    assert saved == expected


def test_images_per_bn(tiny_config, monkeypatch):
    cfg = tiny_config()
    assert images_per_bn(cfg) == 8
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: 4)
    assert images_per_bn(cfg) == 2
    assert images_per_bn(tiny_config(MODEL__BACKBONE__NORM="syncBN")) == 8
    assert images_per_bn(tiny_config(MODEL__BACKBONE__NORM="syncBN", MMT__IMAGES_PER_BN=4)) == 4


def test_images_per_bn_of_chunks_and_domains(tiny_config):
    assert images_per_bn(tiny_config(MMT__IMAGES_PER_BN=4)) == 4
    joint = {"MMT__JOINT__IMS_PER_BATCH": 4}
    assert images_per_bn(tiny_config("plaza2metro_mmt_plus", **joint)) == 8
    assert images_per_bn(tiny_config("plaza2metro_mmt_plus", MMT__DSBN__ENABLED=False, **joint)) == 12


def test_banner_tells_what_a_run_has_of_mmt_plus(tiny_config, caplog):
    logging.getLogger("fastreid").propagate = True
    with caplog.at_level(logging.INFO):
        log_banner(tiny_config("plaza2metro_mmt_plus"), 60, 2)
    for text in (
        "beside them 8 labelled images of SynthPlaza",
        "start from centroids rows; domain-specific BN",
        "MoCo on the target: weight 0.1, 1600 keys, temperature 0.07",
        "classifier CosSoftmax: scale 16, margin 0.2",
        "images per BN: 8 of one domain",
    ):
        assert text in caplog.text


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


@pytest.mark.fault
def test_a_better_best_model_on_disk_is_not_replaced_after_a_resume(tiny_config, tmp_path, observe):
    """A run that was killed after its best epoch, and whose repetition of that epoch goes less well."""
    saved = []

    def after(scores, best, folder) -> SelectionHook:
        hook = SelectionHook("SynthMetro", "")
        hook.load_state_dict({"best": best})
        storage = EventStorage()
        model = SimpleNamespace(teachers=[1], inference_networks=[1], inference_index=torch.tensor(0))
        checkpointer = SimpleNamespace(save_dir=folder, save=lambda *_, **__: saved.append(hook.best))
        hook.trainer = SimpleNamespace(raw_model=model, storage=storage, epoch=3, checkpointer=checkpointer)
        hook.before_train()
        for score in scores:
            storage.put_scalar("teacher1/mAP", score)
            hook.after_epoch()
        return hook

    assert after([45.0, 44.0, 55.0], 40.0, tmp_path).best == 55.0
    assert saved == [45.0, 55.0]
    saved.clear()
    torch.save({"SelectionHook": {"best": 50.0}}, tmp_path / "model_best.pth")
    assert after([45.0, 44.0, 55.0], 40.0, tmp_path).best == 55.0
    assert saved == [55.0]
    observe("model_best from before a kill, worse epochs after it", "kept until an epoch is better")
