"""A run that is resumed with other keys: for longer, with a change that was asked for, or not at all."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from mmt_plugin.config import ConfigError
from mmt_plugin.engine import run
from mmt_plugin.engine.pipeline import train
from mmt_plugin.weights.load_network import CheckpointError, load_file

RECORDS = ("config.yaml", "results.json", "model_final.pth", "metrics.json", "last_checkpoint")


def told(cfg, name="results.json") -> dict:
    return json.loads(Path(cfg.OUTPUT_DIR, name).read_text())


def rates(cfg) -> list[float]:
    lines = map(json.loads, Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines())
    return [line["lr"] for line in lines if "lr" in line]


def test_a_finished_run_goes_on_or_stays_as_it_is(tiny_config, tmp_path, cut_off):
    keys = {
        "PSEUDO_LABELS__METHOD": "ground_truth",
        "SOLVER__STEPS": [1, 3],
        "SOLVER__CHECKPOINT_PERIOD": 1,
        "TEST__EVAL_PERIOD": 0,
    }

    def config(folder="run", **overrides):
        return tiny_config("source", OUTPUT_DIR=str(tmp_path / folder), **{**keys, **overrides})

    cfg = config()
    metrics = train(cfg, resume=False)
    before = {name: Path(cfg.OUTPUT_DIR, name).read_bytes() for name in RECORDS}

    assert train(config(SOLVER__CHECKPOINT_KEEP=1, DATALOADER__CACHE="/elsewhere"), True) == metrics
    for change, message in (
        ({"SOLVER__BASE_LR": 0.1}, r"complete run of another recipe: SOLVER\.BASE_LR 0\.00035 -> 0\.1"),
        ({"SOLVER__MAX_EPOCH": 1}, r"SOLVER\.MAX_EPOCH 2 -> 1"),
        ({"SOLVER__MAX_EPOCH": 4, "MMT__EMA__ALPHA": 0.5}, r"another recipe: MMT\.EMA\.ALPHA"),
    ):
        with pytest.raises(CheckpointError, match=message):
            train(config(**change), resume=True)
    assert {name: Path(cfg.OUTPUT_DIR, name).read_bytes() for name in RECORDS} == before

    longer = config(SOLVER__MAX_EPOCH=4)
    with cut_off(5):
        train(longer, resume=True)
    folder = Path(cfg.OUTPUT_DIR)
    assert yaml.safe_load((folder / "config.yaml").read_text())["SOLVER"]["MAX_EPOCH"] == 4
    assert not (folder / "results.json").exists()  # nothing says that the longer run is complete
    assert not (folder / "model_final.pth").exists()
    train(longer, resume=True)
    whole = config("whole", SOLVER__MAX_EPOCH=4)
    train(whole, resume=False)
    ours, theirs = (load_file(Path(c.OUTPUT_DIR, "model_final.pth")) for c in (longer, whole))
    assert all(torch.equal(value, ours["model"][name]) for name, value in theirs["model"].items())
    assert ours["optimizer"]["param_groups"] == theirs["optimizer"]["param_groups"]
    assert told(longer)["metrics"] == told(whole)["metrics"]
    assert told(longer)["run"] == told(whole)["run"]
    assert told(longer)["run"]["epochs"] == told(longer)["selected_epoch"] == 4
    assert rates(longer)[-1] == rates(whole)[-1] == pytest.approx(3.5e-6)

    with pytest.raises(CheckpointError, match=r"SOLVER\.MAX_EPOCH 4 -> 3"):
        train(config(SOLVER__MAX_EPOCH=3), resume=True)
    (folder / "results.json").unlink()
    with pytest.raises(CheckpointError, match=r"4 epochs .* SOLVER\.MAX_EPOCH is 3: give at least 4"):
        train(config(SOLVER__MAX_EPOCH=3), resume=True)


@pytest.mark.fault
def test_a_change_that_is_allowed_takes_effect_and_is_recorded(tiny_config, cut_off, observe):
    keys = {
        "PSEUDO_LABELS__METHOD": "ground_truth",
        "SOLVER__WARMUP_EPOCHS": 0.0,
        "SOLVER__CHECKPOINT_PERIOD": 1,
        "TEST__EVAL_PERIOD": -1,
        "SOLVER__SCHED": "CosineAnnealingLR",
    }
    cfg = tiny_config("source", **keys)
    with cut_off(2):
        train(cfg, resume=False)
    lowered = tiny_config(
        "source", SOLVER__BASE_LR=1e-5, SOLVER__MAX_EPOCH=3, SOLVER__ON_BAD_STEP="skip", **keys
    )
    with pytest.raises(
        CheckpointError, match=r"--allow-change SOLVER\.BASE_LR --allow-change SOLVER\.ON_BAD"
    ):
        train(lowered, resume=True)
    with pytest.raises(CheckpointError, match=r"recipe: SOLVER\.ON_BAD_STEP error -> skip"):
        train(lowered, resume=True, allow_change=["SOLVER.BASE_LR"])
    train(lowered, resume=True, allow_change=["SOLVER.BASE_LR", "SOLVER.ON_BAD_STEP"])
    # As a cosine of 3 epochs from the new rate: after one of them 3/4 of it, after two 1/4.
    assert rates(lowered)[-1] == pytest.approx(1e-5 / 4, rel=0.05)
    changes = told(lowered)["changes"]
    assert changes == [
        {"change": "SOLVER.BASE_LR 0.00035 -> 1e-05", "iteration": 2},
        {"change": "SOLVER.MAX_EPOCH 2 -> 3", "iteration": 2},
        {"change": "SOLVER.ON_BAD_STEP error -> skip", "iteration": 2},
    ]
    observe("--resume with a key whose change is allowed", f"goes on; results.json records {changes[0]}")


def test_changes_of_keys_that_do_not_exist_or_without_a_run_to_resume_are_refused(tiny_config):
    with pytest.raises(ConfigError, match=r"there is no key SOLVER\.RATE"):
        run(tiny_config(), "", resume=True, allow_change=["SOLVER.RATE"])
    with pytest.raises(ConfigError, match=r"--allow-change SOLVER\.BASE_LR .*add --resume"):
        run(tiny_config(), "", resume=False, allow_change=["SOLVER.BASE_LR"])


def test_another_optimiser_starts_without_the_moments_of_the_old(tiny_config, cut_off):
    keys = {"PSEUDO_LABELS__METHOD": "ground_truth", "SOLVER__CHECKPOINT_PERIOD": 1, "TEST__EVAL_PERIOD": -1}
    with cut_off(2):
        train(tiny_config("source", SOLVER__OPT="SGD", **keys), resume=False)
    cfg = tiny_config("source", SOLVER__OPT="Adam", **keys)
    train(cfg, resume=True, allow_change=["SOLVER.OPT"])
    state = load_file(Path(cfg.OUTPUT_DIR, "model_final.pth"))["optimizer"]["state"]
    assert {"exp_avg", "exp_avg_sq"} <= state[0].keys()
