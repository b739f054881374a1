"""A run that compares its epochs with the models it started from, and says what came of it."""

import json
from pathlib import Path

import torch

from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.items import training_items
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.features import reestimate_bn_statistics
from mmt_plugin.engine.pipeline import train
from mmt_plugin.pseudo_labels.quality import label_free
from mmt_plugin.report.collect import ReportedRun
from mmt_plugin.report.summary import tiles

START, START_BN, FIRST, LAST = 0.2, 0.5, 0.3, 0.6


def guarded_run(tiny_config, monkeypatch, caplog, *guards):
    """Train two epochs whose guards, and those of the two starting models before them, are given."""
    left = iter(guards)
    monkeypatch.setattr(label_free, "guard", lambda *_: next(left))
    cfg = tiny_config(MMT__SELECTION__RULE="guarded", TEST__EVAL_PERIOD=1)
    with caplog.at_level("INFO", "fastreid.mmt"):
        metrics = train(cfg, resume=False)
    return cfg, metrics, json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())


def test_the_better_start_is_kept_where_no_epoch_beats_it(tiny_config, monkeypatch, caplog):
    cfg, metrics, results = guarded_run(tiny_config, monkeypatch, caplog, START, START_BN, FIRST, 0.4)
    assert results["selected_epoch"] == 0
    assert results["verdict"]["word"] == "no better than the start"
    assert "BN statistics of the target, 0.500" in results["verdict"]["why"]
    assert caplog.messages[-1].startswith("Verdict: no better than the start.")

    elsewhere = Path(f"{cfg.OUTPUT_DIR}_start")
    elsewhere.mkdir()
    trainer = MMTTrainer(tiny_config(OUTPUT_DIR=str(elsewhere)))
    trainer.resume_or_load(resume=False)
    start = trainer.raw_model
    reestimate_bn_statistics(start, build_extraction_loader(cfg, training_items(cfg.DATASETS.TARGETS)))
    expected = start.teachers[0].state_dict()
    saved = torch.load(Path(cfg.OUTPUT_DIR, "model_best.pth"), weights_only=True)["model"]
    names = [name for name in expected if name != "heads.weight"]
    for name in names:
        torch.testing.assert_close(saved[f"teachers.0.{name}"], expected[name], msg=name)
    # The record is of the model that was chosen.
    assert results["metrics"]["mAP"] == metrics["mAP"] == trainer.evaluate()["mAP"]
    trainer.close()
    tile = tiles(ReportedRun(cfg.OUTPUT_DIR))[0]
    assert (tile.label, tile.value) == ("Verdict", "no better than the start")


def test_an_epoch_that_beats_the_start_is_chosen_and_training_is_as_ever(tiny_config, monkeypatch, caplog):
    cfg, _, results = guarded_run(tiny_config, monkeypatch, caplog, START, START_BN, FIRST, LAST)
    assert results["selected_epoch"] == 2
    assert results["verdict"]["word"] in ("worked", "doubtful")  # of two steps, labels are not steady
    stable = tiny_config(MMT__SELECTION__RULE="stable", OUTPUT_DIR=f"{cfg.OUTPUT_DIR}_stable")
    train(stable, resume=False)
    ours, theirs = (
        torch.load(Path(each.OUTPUT_DIR, "model_final.pth"), weights_only=True)["model"]
        for each in (cfg, stable)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
