"""The three commands of docs/sda.md on a tiny world: train the translation, write it, pre-train on it."""

import json
import re

import pytest
import torch
from small_sda import SDA_TINY, files
from tiny import REPOSITORY, TINY, as_options

CONFIGS = REPOSITORY / "configs"
SOURCE_OPTS = as_options(
    {
        "SOLVER.ITERS_PER_EPOCH": 2,
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.IMS_PER_BATCH": 8,
        "DATALOADER.NUM_INSTANCE": 2,
        "SOLVER.WARMUP_ITERS": 0,
        "TEST.EVAL_PERIOD": 1,
    }
)


@pytest.fixture
def call(tmp_path, monkeypatch, command):
    """A function: a verb, a recipe and its options -> how the command ended, on a world of its own."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    return lambda verb, config, *options: command(verb, "--config-file", CONFIGS / f"{config}.yml", *options)


def test_three_commands_lead_to_a_model_pre_trained_on_translations(call, tmp_path):
    options = as_options({**SDA_TINY, "OUTPUT_DIR": tmp_path / "sda", "MMT.SOURCE.OPTS": SOURCE_OPTS})
    assert call("train", "sda/plaza2metro", *options).status == 0
    assert (tmp_path / "sda" / "source_seed1" / "model_final.pth").exists()
    final = torch.load(tmp_path / "sda" / "model_final.pth", weights_only=True)
    encoder = torch.load(tmp_path / "sda" / "source_seed1" / "model_final.pth", weights_only=True)
    name = "backbone.conv1.conv.weight"
    for role in ("source", "target"):  # F^t is F^s where none is named
        loaded = final["model"][f"regularizer.{role}.network.{name}"]
        assert torch.equal(loaded, encoder["model"][f"students.0.{name}"])
    assert call("train", "sda/plaza2metro", "--resume", *options).status == 0  # complete: does nothing
    again = call("train", "sda/plaza2metro", *options)
    assert again.status == 2
    assert "already holds a run" in again.err

    assert call("translate", "sda/plaza2metro", *options).status == 0
    (raw,) = (tmp_path / "datasets").glob("synthetic/SynthPlaza_*[!a]/bounding_box_train")
    (translated,) = (tmp_path / "datasets").glob("synthetic/SynthPlaza_*_sda/bounding_box_train")
    assert files(raw).keys() == files(translated).keys()
    assert not files(raw).items() & files(translated).items()

    tiny = {**TINY, "OUTPUT_DIR": tmp_path / "source_sda", "SOLVER.MAX_EPOCH": 1, "TEST.EVAL_PERIOD": 1}
    tiny["PSEUDO_LABELS.METHOD"] = "ground_truth"
    assert call("train", "synthetic/source_sda", *as_options(tiny)).status == 0
    metrics = json.loads((tmp_path / "source_sda" / "results.json").read_text())["metrics"]
    assert 0 < metrics["mAP"] <= 100


@pytest.mark.parametrize(
    ("verb", "flags", "keys", "message"),
    [
        ("train", ["--eval-only"], [], "--eval-only: a translation has no metrics"),
        ("train", [], ["SDA.SOURCE_ENCODER", "/nowhere.pth"], "'/nowhere.pth' does not exist"),
        ("translate", [], [], "model_final.pth' does not exist"),
        ("translate", ["--quality", 0], [], "--quality is 0"),
    ],
)
def test_mistakes_end_with_one_sentence(call, tmp_path, verb, flags, keys, message):
    settings = as_options({**SDA_TINY, "OUTPUT_DIR": tmp_path / "run"})
    ended = call(verb, "sda/plaza2metro", *flags, *settings, *keys)
    assert ended.status == 2
    assert re.search(f"^error: .*{message}", ended.err, re.MULTILINE)


def test_only_a_translation_can_be_applied(call, tmp_path):
    ended = call("translate", "synthetic/plaza2metro_mmt", "OUTPUT_DIR", tmp_path)
    assert ended.status == 2
    assert "is no recipe of SDA" in ended.err
