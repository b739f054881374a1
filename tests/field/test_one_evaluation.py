"""One evaluation: whatever ranks a run gives the same digits, says what it ranked, and leaves the run alone.

From users who compared `evaluate` with `train --eval-only`: query expansion, the metric, verification rates
and cut lists counted in one of them only; nine of ten queries without a match gave "mAP 100" without a word;
a test set that was labelled later could not be evaluated; and an evaluation rewrote the run's config.yaml, so
that its FeatureExtractor took another checkpoint at another image size.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_keys import ALL, KEYS
from tiny import train_tiny

from mmt_plugin.config import ConfigError, load_config
from mmt_plugin.data.items import build_dataset
from mmt_plugin.engine.trained_model import load_for_evaluation
from mmt_plugin.inference import FeatureExtractor
from mmt_plugin.retrieval import Method, RankingError, evaluate


@pytest.fixture(scope="module")
def trained(tmp_path_factory, datasets_root):
    """Two runs; the second's own evaluation has many keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(datasets_root))
        folder, keys = tmp_path_factory.mktemp("runs"), dict(zip(ALL[::2], ALL[1::2], strict=True))
        train_tiny(folder / "second", "synthetic/source", SEED=2, **keys)
        return train_tiny(folder / "source", "synthetic/source")


@pytest.fixture
def run(trained, tiny_config, tmp_path) -> Path:
    """A run's folder, to be spoilt."""
    tiny_config()
    return shutil.copytree(trained, tmp_path / "trained")


def eval_only(command, run, *words, folder):
    weights = ["MODEL.WEIGHTS", run / "model_final.pth", "OUTPUT_DIR", folder]
    ended = command("train", "--config-file", run / "config.yaml", "--eval-only", *weights, *words)
    assert ended.status == 0, ended.err
    return json.loads((folder / "evaluation.json").read_text())


def test_both_tools_give_the_same_digits_for_every_key(command, run, tmp_path):
    found = {}
    for name, words in KEYS.items():
        ours = eval_only(command, run, *words, folder=tmp_path / "only")
        ended = command("evaluate", run, "--output", tmp_path / "entry", "--opts", *words, "SEED", 1)
        assert ended.status == 0, ended.err
        theirs = json.loads((tmp_path / "entry" / "evaluation.json").read_text())
        assert theirs["test_sets"] == ours["test_sets"]
        found[name] = {key: value for key, value in theirs["metrics"].items() if key != "step"}
        assert found[name] == {key: ours["metrics"][key] for key in found[name]}, name
        assert f"{found[name]['mAP']:.2f}" in ended.out
        assert "left out" in ended.out
    assert {"TPR@FPR=1e-02"} <= found["verification"].keys()
    digits = [each["mAP"] for name, each in found.items() if name != "verification"]
    assert len(set(digits)) == len(digits)  # no key is without effect
    recorded = json.loads((run / "results.json").read_text())
    assert recorded["metrics"]["mAP"] == found["as it is"]["mAP"]
    assert recorded["test_sets"]["SynthMetro"] == ours["test_sets"]["SynthMetro"]


def test_features_of_extractors_rank_alike_alone_and_joined(command, run, trained, tmp_path):
    """By the library's ranking, under each key: as `evaluate` of a run, and of an ensemble."""
    second, images = trained.with_name("second"), build_dataset("SynthMetro")
    labels = [[item[k] for item in part] for k in (1, 2) for part in (images.query, images.gallery)]
    for name, words in KEYS.items():
        if name in ("flip", "BN statistics"):  # a run's own, not of a ranking
            continue
        method = Method.from_config(load_config(run / "config.yaml", words).TEST)
        for runs in ([run], [run, second]):
            normalize = method.metric == "cosine" or len(runs) > 1
            extractors = [FeatureExtractor(each, device="cpu", normalize=normalize) for each in runs]
            parts = [
                np.concatenate([extractor([item[0] for item in part]) for extractor in extractors], axis=1)
                for part in (images.query, images.gallery)
            ]
            measured = evaluate(*parts, *labels, method)
            ended = command("evaluate", *runs, "--output", tmp_path / "entry", "--opts", *words, "SEED", 1)
            assert ended.status == 0, ended.err
            theirs = json.loads((tmp_path / "entry" / "evaluation.json").read_text())
            # Joined features are rounded elsewhere: neighbours that are as near change places.
            near = 1e-3 if len(runs) == 1 else 0.02
            ours = {key: pytest.approx(value, abs=near) for key, value in measured.metrics.items()}
            assert {key: theirs["metrics"][key] for key in ours} == ours, (name, len(runs))
            assert theirs["test_sets"]["SynthMetro"] == measured.counts.as_dict()


def test_a_training_evaluates_alike(command, run, trained, tmp_path):
    """`--eval-only` and `evaluate` of a run find again what its training recorded."""
    second = shutil.copytree(trained.with_name("second"), tmp_path / "second")
    recorded = json.loads((second / "results.json").read_text())
    found = eval_only(command, second, folder=tmp_path / "only")
    assert found["metrics"] == recorded["metrics"]
    assert found["test_sets"] == recorded["test_sets"]
    assert f"{recorded['metrics']['mAP']:.2f}" in command("evaluate", second).out
    assert "TPR@FPR=1e-02" in recorded["metrics"]


def test_evaluating_a_run_changes_nothing_else_in_its_folder(command, run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    eval_only(command, run, "INPUT.SIZE_TEST", "[32, 16]", "TEST.FLIP.ENABLED", True, folder=run)
    refused = command("train", "--config-file", run / "config.yaml", "--resume", "SOLVER.BASE_LR", 1.0)
    assert refused.status == 2
    ended = command("evaluate", run, "--output", run)
    assert ended.status == 2
    assert "is the folder of a run" in ended.err
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert after.pop(run / "evaluation.json")
    assert after == before
    assert FeatureExtractor(run, device="cpu")._size == (64, 32)


def test_queries_that_are_left_out_are_told():
    features = np.eye(4, dtype=np.float32)
    measured = evaluate(features[:3], features, [1, 2, 3], [1, 2, 9, 9], [0, 0, 0], [1, 0, 0, 1])
    assert measured.metrics["mAP"] == 100
    assert str(measured.counts) == (
        "1 queries used, 2 left out (no match under another camera), 4 gallery images, 2 cameras"
    )
    with pytest.raises(RankingError, match=r"no query identity appears.*has 2 queries and 4 gallery"):
        evaluate(features[:2], features, [7, 8], [1, 2, 9, 9], [0, 0], [1, 0, 0, 1])


def test_a_set_that_was_labelled_later_is_evaluated(command, run, tmp_path):
    images = build_dataset("SynthMetro")
    for part in ("query", "gallery"):
        for number, (path, identity, camera) in enumerate(getattr(images, part)):
            copy = tmp_path / "later" / part / f"{identity}_c{camera}_{number}.jpg"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    name = f"('folder:{tmp_path / 'later'}',)"
    ended = command("evaluate", run, "--opts", "DATASETS.TESTS", name)
    assert ended.status == 0, ended.err
    found = eval_only(command, run, "DATASETS.TESTS", name, folder=tmp_path / "only")
    assert f"{found['metrics']['mAP']:.2f}" in ended.out
    same = json.loads((run / "results.json").read_text())["metrics"]
    assert found["metrics"]["mAP"] == pytest.approx(same["mAP"], abs=1e-3)
    pattern = ["DATASETS.OWN.TEST_PATTERN", r"(?P<id>\d+)_nothing"]
    ended = command("evaluate", run, "--opts", "DATASETS.TESTS", name, *pattern)
    assert ended.status == 2  # the command's pattern, not the run's, is what counts


def test_what_a_training_has_settled_cannot_be_overridden(command, run):
    ended = command("evaluate", run, "--opts", "INPUT.SIZE_TEST", "[32, 16]")
    assert ended.status == 2
    assert ended.err.startswith("error: --opts INPUT.SIZE_TEST [32, 16]:")


def test_nothing_is_evaluated_without_weights(command, run, tmp_path):
    ended = command(
        "train", "--config-file", run / "config.yaml", "--eval-only", "OUTPUT_DIR", tmp_path / "a"
    )
    assert ended.status == 2
    assert ended.err.startswith("error: MODEL.WEIGHTS is empty, so a network of random numbers")
    assert not (tmp_path / "a").exists()


def test_the_untrained_baseline_has_the_pretrained_backbone(run, tmp_path):
    cfg = load_config(run / "config.yaml", ["MODEL.WEIGHTS", str(run / "model_final.pth")])
    weights = load_for_evaluation(cfg).students[0].backbone.state_dict()
    torch.save(weights, tmp_path / "imagenet.pth")
    cfg.MODEL.BACKBONE.PRETRAIN_PATH, cfg.MODEL.WEIGHTS = str(tmp_path / "imagenet.pth"), "pretrained"
    model = load_for_evaluation(cfg)
    name = "conv1.conv.weight"
    assert torch.equal(model.students[0].backbone.state_dict()[name], weights[name])
    cfg.MODEL.HEADS.EMBEDDING_DIM = 64
    with pytest.raises(ConfigError, match=r"MODEL\.HEADS\.EMBEDDING_DIM is 64"):
        load_for_evaluation(cfg)
