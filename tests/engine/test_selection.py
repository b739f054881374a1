"""The model that is kept, by a score that needs no labels."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fastreid.utils.events import EventStorage

from mmt_plugin.engine import MMTTrainer, load_for_evaluation
from mmt_plugin.engine.hooks.selection import BestModelHook, StableSelectionHook
from mmt_plugin.engine.pipeline import train
from mmt_plugin.weights.load_network import load_file

SCORE = StableSelectionHook.SCORE


@pytest.fixture
def select(tmp_path):
    """A function: scores that the labels give before each epoch and after the last (None: none) -> the hook,
    and the epochs it saved.
    """

    def run(scores, hook=None):
        hook = hook or StableSelectionHook()
        saved = []
        storage = EventStorage()
        checkpointer = SimpleNamespace(save_dir=tmp_path, save=lambda _, epoch: saved.append(epoch))
        hook.trainer = SimpleNamespace(
            storage=storage, checkpointer=checkpointer, max_epoch=len(scores) - 1, steps_done=0
        )
        hook.before_train()

        def look(score):
            if score is not None:
                storage.put_scalar(SCORE, score)

        for hook.trainer.epoch in range(len(scores) - 1):
            look(scores[hook.trainer.epoch])
            hook.before_epoch()
            storage.iter += 1
            if hook.trainer.epoch + 1 == hook.trainer.max_epoch:
                look(scores[-1])
            hook.after_epoch()
        return hook, saved

    return run


@pytest.mark.parametrize(
    ("scores", "saved"),
    [
        ([None, 0.3, 0.5, 0.4], [0, 1]),  # before epoch 2 the model of epoch 1 has the highest score
        ([None, 0.3, 0.2, 0.4], [0, 2]),
        ([0.9, 0.3, 0.2, 0.1], [0]),  # the model that the run starts from is no candidate
        ([None, 0.3, None, None], [0]),  # an epoch without a score does not count with an earlier one
        ([None, 0.3, 0.3, 0.3], [0]),
    ],
)
def test_the_highest_score_is_kept(select, scores, saved):
    hook, found = select(scores)
    assert found == saved
    assert hook.epoch == saved[-1]


def test_without_any_score_the_last_model_is_kept(select, caplog):
    logging.getLogger("fastreid").propagate = True
    with caplog.at_level(logging.WARNING):
        hook, saved = select([None, None, None])
    assert (hook.epoch, saved) == (1, [1])
    assert "No epoch has a label-free score" in caplog.text


def test_a_better_model_on_disk_stays(select, tmp_path):
    torch.save({"StableSelectionHook": {"best": 0.45, "epoch": 7}}, tmp_path / "model_best.pth")
    hook, saved = select([None, 0.4, 0.45, 0.5])
    assert (hook.best, saved) == (0.5, [2])


def test_state_round_trip():
    hook, other = StableSelectionHook(), StableSelectionHook()
    hook.best, hook.epoch = 0.25, 3
    other.load_state_dict(hook.state_dict())
    assert (other.best, other.epoch) == (0.25, 3)


def records(folder) -> list[dict]:
    return [json.loads(line) for line in Path(folder, "metrics.json").read_text().splitlines()]


def test_a_run_without_a_test_set_is_judged_without_labels(tiny_config, tmp_path, cut_off, caplog):
    """Whole and resumed in its third epoch: the same scores, the same choice, the same model."""
    keys = {
        "DATASETS__TESTS": (),
        "MMT__SELECTION__RULE": "stable",
        "SOLVER__MAX_EPOCH": 3,
        "SOLVER__CHECKPOINT_PERIOD": 1,
    }
    whole = tiny_config(OUTPUT_DIR=str(tmp_path / "whole"), **keys)
    logging.getLogger("fastreid").propagate = True
    with caplog.at_level(logging.INFO):
        assert train(whole, resume=False) == {}
    assert "Not evaluated, because DATASETS.TESTS is empty. Without labels: clustered" in caplog.text
    assert "stability" in caplog.text
    parts = tiny_config(OUTPUT_DIR=str(tmp_path / "parts"), **keys)
    with cut_off(5):
        train(parts, resume=False)
    train(parts, resume=True)

    results = [json.loads(Path(c.OUTPUT_DIR, "results.json").read_text()) for c in (whole, parts)]
    assert results[0]["metrics"] == {}
    assert {"stability", "silhouette", "twin_agreement", "clustered", "score"} <= results[0][
        "label_free"
    ].keys()
    assert "label-free score" in results[0]["selection"]
    for key in ("label_free", "selected_epoch", "clusters"):
        assert results[0][key] == results[1][key]

    scores = [record[SCORE] for record in records(whole.OUTPUT_DIR) if SCORE in record]
    assert len(scores) == 3  # the starting model has none, and the last one is looked at, too
    assert results[0]["selected_epoch"] == 1 + max(range(3), key=scores.__getitem__)
    models = [load_file(Path(c.OUTPUT_DIR, "model_best.pth")) for c in (whole, parts)]
    assert models[0]["StableSelectionHook"]["best"] == max(scores)
    assert all(torch.equal(value, models[1]["model"][name]) for name, value in models[0]["model"].items())


def test_a_run_stopped_after_its_last_epoch_still_tells_its_quality(tiny_config):
    cfg = tiny_config(DATASETS__TESTS=(), MMT__SELECTION__RULE="stable")
    train(cfg, resume=False)
    file = Path(cfg.OUTPUT_DIR, "results.json")
    first = json.loads(file.read_text())
    file.unlink()
    assert train(cfg, resume=True) == {}
    again = json.loads(file.read_text())
    assert all(again[key] == first[key] for key in ("label_free", "selected_epoch", "metrics"))


def test_a_run_with_a_test_set_has_the_measures_too(tiny_config):
    cfg = tiny_config()
    train(cfg, resume=False)
    results = json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())
    assert results["metrics"]["mAP"] > 0
    assert {"stability", "silhouette", "twin_agreement", "cross_camera"} <= results["label_free"].keys()
    assert results["selected_epoch"] == 2


@pytest.mark.parametrize("rule", ["stable", "best"])
def test_what_is_recorded_is_of_the_chosen_model(tiny_config, monkeypatch, rule):
    """The first of three epochs is made the best, of the second network where the rule may choose one."""
    keys = {"MMT__SELECTION__DATASET": "SynthMetro"} if rule == "best" else {}
    cfg = tiny_config(MMT__SELECTION__RULE=rule, SOLVER__MAX_EPOCH=3, TEST__EVAL_PERIOD=1, **keys)
    consider, known = BestModelHook.consider, []

    def first(hook, score, epoch, reason):
        if rule == "best":
            hook.trainer.raw_model.inference_index.fill_(1 - epoch % 2)
        known.append(hook._findings())
        consider(hook, 1.0 / (epoch + 1), epoch, reason)

    monkeypatch.setattr(BestModelHook, "consider", first)
    metrics = train(cfg, resume=False)
    results = json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())
    assert results["selected_epoch"] == 1
    assert {name: results[name] for name in ("clusters", "label_free")} == known[0] != known[-1]

    cfg.MODEL.WEIGHTS = str(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    model = load_for_evaluation(cfg)
    assert int(model.inference_index) == (rule == "best")
    assert results["metrics"] == metrics == MMTTrainer.test(cfg, model)
    epochs = [record["teacher1/mAP"] for record in records(cfg.OUTPUT_DIR) if "teacher1/mAP" in record]
    assert metrics["teacher1/mAP"] == epochs[0] != epochs[-1]
