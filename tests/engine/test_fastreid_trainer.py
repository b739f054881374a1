"""A recipe of fastreid's own: the same promises as every other run."""

import json
import logging

import pytest
import torch
from tiny import TINY, as_options

BASELINE = """
MODEL:
  META_ARCHITECTURE: Baseline
  BACKBONE: {NAME: build_osnet_backbone, DEPTH: x0_25, FEAT_DIM: 128, PRETRAIN: False}
  HEADS: {NAME: EmbeddingHead, NORM: BN, WITH_BNNECK: True, POOL_LAYER: GlobalAvgPool}
DATASETS: {NAMES: "('SynthPlaza',)", TESTS: "('SynthMetro',)"}
INPUT: {SIZE_TRAIN: [64, 32], SIZE_TEST: [64, 32]}
DATALOADER: {NUM_WORKERS: 0, NUM_INSTANCE: 2}
SOLVER: {MAX_EPOCH: 1, WARMUP_ITERS: 0, IMS_PER_BATCH: 8}
TEST: {EVAL_PERIOD: 1}
"""
KEYS = {key: value for key, value in TINY.items() if key.startswith("SYNTHETIC") or key == "MODEL.DEVICE"}


@pytest.fixture
def call(command, tiny_config, tmp_path, caplog):
    """A function: words of `train` -> how it ended, in the folder "run"."""
    tiny_config()
    caplog.set_level(logging.INFO, "fastreid")  # else the host adds handlers that stay
    (tmp_path / "baseline.yml").write_text(BASELINE)
    words = [
        "--config-file",
        tmp_path / "baseline.yml",
        *as_options({**KEYS, "OUTPUT_DIR": tmp_path / "run"}),
    ]
    return lambda *more: command("train", *words, *more)


def test_a_run_from_start_to_end(call, command, tmp_path):
    run = tmp_path / "run"
    refused = call("KD.EMA.ENABLED", True, "DATALOADER.SET_WEIGHT", "[1]", "TEST.FLIP.ENABLED", True)
    assert refused.status == 2
    assert [line.split(" is set")[0] for line in refused.err.removeprefix("error: ").splitlines()] == [
        "DATALOADER.SET_WEIGHT",
        "KD.EMA.ENABLED",
    ]
    assert not (run / "config.yaml").exists()

    assert call("OUTPUT_DIR", run).status == 0
    weights = torch.load(run / "model_final.pth", weights_only=True)["model"]
    changed = call("--resume", "SOLVER.BASE_LR", 0.1, "SOLVER.MAX_EPOCH", 2)
    assert changed.status == 2
    assert "has another recipe: SOLVER.BASE_LR 0.0003 -> 0.1" in changed.err

    theirs = {f"module.{name}": value for name, value in weights.items() if "heads.weight" not in name}
    torch.save({"state_dict": theirs}, tmp_path / "theirs.pth")
    found = {}
    for name, path in {"own": run / "model_final.pth", "theirs": tmp_path / "theirs.pth"}.items():
        ended = call("--eval-only", "MODEL.WEIGHTS", path, "OUTPUT_DIR", tmp_path / name)
        assert ended.status == 0, ended.err
        found[name] = json.loads((tmp_path / name / "evaluation.json").read_text())["metrics"]["mAP"]
    assert found["own"] == found["theirs"]

    started = call(
        "MODEL.WEIGHTS", tmp_path / "theirs.pth", "OUTPUT_DIR", tmp_path / "b", "SOLVER.BASE_LR", 0.0
    )
    assert started.status == 0, started.err
    final = torch.load(tmp_path / "b" / "model_final.pth", weights_only=True)["model"]
    assert torch.equal(final["backbone.conv1.conv.weight"], weights["backbone.conv1.conv.weight"])

    torch.save(dict(list(theirs.items())[:-9]), tmp_path / "part.pth")
    for words in (["--eval-only"], []):  # neither evaluated nor trained half
        refused = call(*words, "MODEL.WEIGHTS", tmp_path / "part.pth", "OUTPUT_DIR", tmp_path / "c")
        assert refused.status == 2
        assert "does not fit the model: 7 missing" in refused.err
    assert not list((tmp_path / "c").rglob("*.pth"))
