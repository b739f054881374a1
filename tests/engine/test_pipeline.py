"""The whole recipe, in process: stages, skipping, resuming, refusing."""

import json
from pathlib import Path

import pytest
import torch

from mmt_plugin.config import ConfigError
from mmt_plugin.engine import MMTTrainer, run
from mmt_plugin.engine.pipeline import pretrain, source_config
from mmt_plugin.weights.load_network import CheckpointError, load_file

CONFIG_FILE = str(Path(__file__).parents[2] / "configs" / "synthetic" / "plaza2metro_mmt.yml")
SOURCE_OPTS = [
    "SOLVER.ITERS_PER_EPOCH",
    2,
    "SOLVER.MAX_EPOCH",
    1,
    "SOLVER.IMS_PER_BATCH",
    8,
    "DATALOADER.NUM_INSTANCE",
    2,
]
SOURCE_OPTS += ["SOLVER.WARMUP_ITERS", 0, "TEST.EVAL_PERIOD", 1]


@pytest.fixture
def mmt_config(tiny_config):
    return lambda **overrides: tiny_config(MMT__SOURCE__OPTS=SOURCE_OPTS, **overrides)


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(Path(folder, "model_final.pth"))["model"]


def test_one_call_pretrains_and_adapts_and_the_next_repeats_nothing(mmt_config):
    cfg = mmt_config()
    metrics = run(cfg, CONFIG_FILE, resume=False)
    folder = Path(cfg.OUTPUT_DIR)
    assert {"mAP", "Rank-1", "Rank-5", "Rank-10", "teacher1/mAP", "teacher2/mAP"} <= metrics.keys()
    assert metrics["mAP"] == metrics["teacher1/mAP"]
    record = json.loads((folder / "results.json").read_text())
    assert record["clusters"] == 8
    assert "teacher 1 at the last epoch" in record["selection"]
    assert (folder / "rank_list.jpg").stat().st_size > 1000
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    written = set().union(*lines)
    assert {
        "clusters",
        "outliers",
        "largest_cluster",
        "ARI",
        "NMI",
        "lr",
        "mAP",
        "images_per_bn",
        "loss_ce",
    } <= written
    assert list(folder.glob("events.out.tfevents.*"))

    sources = [weights(folder / f"source_seed{seed}") for seed in (1, 2)]
    key = next(name for name in sources[0] if name.endswith("conv.weight"))
    assert not torch.equal(sources[0][key], sources[1][key])
    assert not any(name.startswith("teachers") for name in sources[0])

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pth")}
    assert run(cfg, CONFIG_FILE, resume=True) == pytest.approx(metrics)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pth")} == before


def test_students_start_from_their_own_source_models(mmt_config):
    cfg = mmt_config()
    paths = tuple(pretrain(source_config(cfg, CONFIG_FILE, seed), resume=False) for seed in (1, 2))
    trainer = MMTTrainer(mmt_config(MMT__WEIGHTS=paths))
    trainer.resume_or_load(resume=False)
    for student, teacher, path in zip(
        trainer.raw_model.students, trainer.raw_model.teachers, paths, strict=True
    ):
        source = load_file(path)["model"]
        teacher_state = teacher.state_dict()
        for name, value in student.state_dict().items():
            if name != "heads.weight":
                assert torch.equal(value, source[f"students.0.{name}"]), name
                assert torch.equal(value, teacher_state[name]), name


@pytest.mark.parametrize("ema", [True, False])
def test_a_resumed_run_ends_bit_equal(mmt_config, tmp_path, cut_off, ema):
    """Stop in the third epoch of four; continue from the second epoch's checkpoint."""
    common = {
        "SOLVER__MAX_EPOCH": 4,
        "SOLVER__CHECKPOINT_PERIOD": 1,
        "MODEL__HEADS__DROPOUT": 0.3,
        "TEST__EVAL_PERIOD": 4,
    }
    common["MMT__EMA__ENABLED"] = ema
    source = mmt_config(OUTPUT_DIR=str(tmp_path / "source"))
    common["MMT__WEIGHTS"] = tuple(pretrain(source_config(source, CONFIG_FILE, s), False) for s in (1, 2))
    whole = mmt_config(OUTPUT_DIR=str(tmp_path / "whole"), **common)
    expected = run(whole, CONFIG_FILE, resume=False)

    parts = mmt_config(OUTPUT_DIR=str(tmp_path / "parts"), **common)
    with cut_off(5):
        run(parts, CONFIG_FILE, resume=False)
    assert run(parts, CONFIG_FILE, resume=True) == expected
    a, b = (load_file(Path(cfg.OUTPUT_DIR, "model_final.pth")) for cfg in (whole, parts))
    assert a["model"].keys() == b["model"].keys()
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name
    assert torch.equal(a["PseudoLabelHook"]["labels"]["labels"], b["PseudoLabelHook"]["labels"]["labels"])


def test_a_run_stopped_after_its_last_epoch_is_still_evaluated(mmt_config):
    cfg = mmt_config()
    metrics = run(cfg, CONFIG_FILE, resume=False)
    for results in Path(cfg.OUTPUT_DIR).rglob("results.json"):
        results.unlink()
    assert run(cfg, CONFIG_FILE, resume=True) == pytest.approx(metrics)
    assert len(list(Path(cfg.OUTPUT_DIR).rglob("results.json"))) == 3


def test_a_run_is_not_overwritten_without_resume(mmt_config):
    cfg = mmt_config()
    run(cfg, CONFIG_FILE, resume=False)
    with pytest.raises(CheckpointError, match=r"already holds a run.*--resume"):
        run(cfg, CONFIG_FILE, resume=False)


def test_source_models_of_another_recipe_are_refused(mmt_config):
    cfg = source_config(mmt_config(), CONFIG_FILE, 1)
    pretrain(cfg, resume=False)
    other = cfg.clone()
    other.defrost()
    other.SOLVER.BASE_LR = 0.5
    other.DATALOADER.NUM_WORKERS = 1
    with pytest.raises(CheckpointError, match=r"SOLVER\.BASE_LR 0\.00035 -> 0\.5"):
        pretrain(other, resume=False)


def test_source_stage_shares_the_network_and_the_data(mmt_config):
    cfg = mmt_config(MODEL__HEADS__POOL_LAYER="GeneralizedMeanPooling")
    source = source_config(cfg, CONFIG_FILE, seed=7)
    assert source.MODEL.BACKBONE == cfg.MODEL.BACKBONE
    assert source.MODEL.HEADS.POOL_LAYER == "GeneralizedMeanPooling"
    assert source.DATASETS == cfg.DATASETS
    assert (source.SEED, source.MMT.NUM_PAIRS, source.PSEUDO_LABELS.METHOD) == (7, 1, "ground_truth")
    assert source.OUTPUT_DIR.endswith("source_seed7")
    assert source.SOLVER.ITERS_PER_EPOCH == 2


def test_missing_source_recipe_is_named(mmt_config):
    with pytest.raises(ConfigError, match=r"no .*nowhere\.yml"):
        run(mmt_config(MMT__SOURCE__CONFIG_FILE="nowhere.yml"), CONFIG_FILE, resume=False)


def test_best_teacher_is_kept_when_the_user_asks(mmt_config):
    cfg = mmt_config(
        MMT__SELECTION__RULE="best",
        MMT__SELECTION__DATASET="SynthMetro",
        TEST__EVAL_PERIOD=1,
        SOLVER__MAX_EPOCH=3,
    )
    run(cfg, CONFIG_FILE, resume=False)
    lines = [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
    scores = {(line["teacher1/mAP"], line["teacher2/mAP"]) for line in lines if "teacher1/mAP" in line}
    best = load_file(Path(cfg.OUTPUT_DIR, "model_best.pth"))
    top = max(max(pair) for pair in scores)
    assert best["SelectionHook"]["best"] == pytest.approx(top)
    chosen = int(best["model"]["inference_index"])
    assert any(pair[chosen] == pytest.approx(top) for pair in scores)


def test_no_best_model_is_written_unasked(mmt_config):
    cfg = mmt_config()
    run(cfg, CONFIG_FILE, resume=False)
    assert not Path(cfg.OUTPUT_DIR, "model_best.pth").exists()
