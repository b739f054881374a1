"""Trained runs, alone and together, from their folders to a ranking."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import REPOSITORY, as_options, train_tiny

from mmt_plugin.challenge.ensemble import MismatchError
from mmt_plugin.challenge.entry import make_entry
from mmt_plugin.challenge.ranked_run import features_of_test_set, load_run
from mmt_plugin.config import ConfigError, load_config
from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.items import build_dataset
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.trained_model import load_for_evaluation
from mmt_plugin.runs.run import RunError
from mmt_plugin.weights.load_network import CheckpointError, load_file

EVALUATE = REPOSITORY / "configs" / "evaluate" / "synthmetro.yml"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, datasets_root):
    """Two identity runs of different backbones, and a camera model."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(datasets_root))
        made = {
            "osnet": train_tiny(folder / "osnet", "synthetic/source"),
            "resnet": train_tiny(
                folder / "resnet",
                "synthetic/source",
                MODEL__BACKBONE__NAME="build_resnet_backbone",
                MODEL__BACKBONE__DEPTH="18x",
            ),
            "camera": train_tiny(folder / "camera", "camera/synthmetro"),
        }
    return {name: str(path) for name, path in made.items()}


@pytest.fixture(autouse=True)
def world(tiny_config):
    """The data sets of the runs."""
    tiny_config()


@pytest.fixture
def settings():
    def make(**overrides):
        options = {"MODEL.DEVICE": "cpu", "DATALOADER.NUM_WORKERS": 0, "TEST.TOP_K": 20}
        options |= {key.replace("__", "."): value for key, value in overrides.items()}
        return load_config(EVALUATE, as_options(options))

    return make


def loaded(runs, settings, *names):
    return [load_run(runs[name], settings) for name in names]


def features_slowly(folder, flip):
    """Image by image, with the network that the run's own configuration builds."""
    run = load_run(folder)
    model, images = load_for_evaluation(run.cfg).eval(), build_dataset("SynthMetro")
    loader = build_extraction_loader(run.cfg, [*images.query, *images.gallery])
    rows = []
    for i in range(0, len(loader.dataset), 17):
        image = loader.dataset[i][None]
        with torch.no_grad():
            feature = model({"images": image})
            if flip:
                feature = (feature + model({"images": image.flip(dims=[3])})) / 2
        rows.append(F.normalize(feature)[0].numpy())
    return np.array(rows)


@pytest.mark.parametrize("flip", [False, True])
def test_features_are_flip_averaged_before_they_are_normalised(runs, settings, flip):
    (run,) = loaded(runs, settings(TEST__FLIP__ENABLED=flip), "osnet")
    features, _ = features_of_test_set(run, "SynthMetro")
    np.testing.assert_allclose(features.features[::17], features_slowly(runs["osnet"], flip), atol=1e-5)


def test_one_run_scores_as_in_training(runs, settings):
    chosen = settings(TEST__FLIP__ENABLED=False, TEST__RERANK__ENABLED=False, TEST__TOP_K=0)
    entry = make_entry(loaded(runs, chosen, "osnet"), None, chosen, "SynthMetro")
    cfg = load_run(runs["osnet"]).cfg
    alone = MMTTrainer.test(cfg, load_for_evaluation(cfg))
    found = entry.measure(entry.steps[-1]).metrics
    for name in ("mAP", "mINP", "Rank-1", "Rank-5", "Rank-10"):
        assert found[name] == pytest.approx(alone[name], abs=1e-3)


def test_steps_follow_the_published_order(runs, settings):
    chosen = settings()
    identity = loaded(runs, chosen, "osnet", "resnet")
    (camera,) = loaded(runs, chosen, "camera")
    entry = make_entry(identity, camera, chosen, "SynthMetro")
    names = [step.name for step in entry.steps]
    assert names == [
        runs["osnet"],
        runs["resnet"],
        "ensemble of 2",
        "+ camera term",
        "+ re-ranking",
    ]
    assert [step.over for step in entry.steps] == [(), (), (0, 1), (2,), (3,)]

    parts = [features_of_test_set(run, "SynthMetro")[0] for run in (*identity, camera)]
    queries = len(entry.features.query)

    def squared(part):
        query, gallery = part.features[:queries, None], part.features[None, queries:]
        return ((query - gallery) ** 2).sum(axis=2)

    expected = (squared(parts[0]) + squared(parts[1])) / 2
    np.testing.assert_allclose(np.concatenate(list(entry.steps[2].blocks())), expected, atol=1e-5)
    expected -= 0.1 * squared(parts[2])
    block = np.concatenate(list(entry.steps[3].blocks()))
    np.testing.assert_allclose(block, expected, atol=1e-5)
    ranked = entry.nearest(entry.steps[3])
    assert np.array_equal(ranked, np.argsort(block, axis=1, kind="stable")[:, :100])
    (reranked,) = entry.steps[4].blocks()
    assert reranked.shape == block.shape
    assert not np.array_equal(np.argsort(reranked, axis=1), np.argsort(block, axis=1))
    assert all(0 < entry.measure(step).metrics["mAP"] <= 100 for step in entry.steps)


def test_roles_are_not_to_be_mixed_up(runs, settings):
    chosen = settings()
    osnet, camera = loaded(runs, chosen, "osnet", "camera")
    with pytest.raises(ConfigError, match=rf"{runs['camera']} is a camera model: it goes behind --camera"):
        make_entry([osnet, camera], None, chosen, "SynthMetro")
    with pytest.raises(ConfigError, match=rf"{runs['osnet']} is no camera model: .* SynthPlaza"):
        make_entry([osnet], osnet, chosen, "SynthMetro")
    again = load_run(str(Path(runs["osnet"], "model_final.pth")), chosen)
    with pytest.raises(ConfigError, match="the same model, named twice"):
        make_entry([osnet, again], None, chosen, "SynthMetro")


def test_a_camera_model_of_other_cameras_is_refused(runs, settings, tmp_path):
    other = shutil.copytree(runs["camera"], tmp_path / "plaza")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("SynthMetroCameras", "SynthPlazaCameras"))
    chosen = settings()
    (osnet,) = loaded(runs, chosen, "osnet")
    message = rf"plaza knows the cameras of SynthPlaza, but {runs['osnet']} was made for SynthMetro"
    with pytest.raises(ConfigError, match=message):
        make_entry([osnet], load_run(str(other), chosen), chosen, "SynthMetro")


def test_runs_of_another_world_are_refused(runs, settings, tmp_path):
    other = shutil.copytree(runs["osnet"], tmp_path / "other")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("TEST_IDS: 8", "TEST_IDS: 9"))
    chosen = settings()
    pair = [*loaded(runs, chosen, "resnet"), load_run(str(other), chosen)]
    with pytest.raises(MismatchError, match=rf"{runs['resnet']} has \d+ query images, {other} \d+"):
        make_entry(pair, None, chosen, "SynthMetro")


def test_folders_that_hold_no_finished_run_are_named(runs, tmp_path):
    with pytest.raises(RunError, match=r"nowhere is no run: there is no .*config\.yaml"):
        load_run(str(tmp_path / "nowhere"))
    folder = tmp_path / "unfinished"
    folder.mkdir()
    shutil.copy(Path(runs["osnet"], "config.yaml"), folder)
    with pytest.raises(RunError, match=r"unfinished: there is no model_final\.pth"):
        load_run(str(folder))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("RULE: last", "RULE: best"))
    with pytest.raises(RunError, match=r"unfinished: there is no model_best\.pth"):
        load_run(str(folder))
    checkpoint = str(Path(runs["osnet"], "model_final.pth"))
    assert checkpoint == load_run(checkpoint).cfg.MODEL.WEIGHTS


def test_plain_fastreid_runs_are_loaded_whole_or_not_at_all(runs, tmp_path):
    """A Baseline's checkpoint, and one that lacks a layer, which fastreid would leave at random."""
    text = Path(runs["resnet"], "config.yaml").read_text()
    for old, new in (
        ("META_ARCHITECTURE: MutualMeanTeaching", "META_ARCHITECTURE: Baseline"),
        ("FEAT_DIM: 0", "FEAT_DIM: 512"),
        ("NAME: ClusterHead", "NAME: EmbeddingHead"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "config.yaml").write_text(text)
    ours = load_file(Path(runs["resnet"], "model_final.pth"))["model"]
    weights = {
        key.removeprefix("students.0."): value for key, value in ours.items() if key.startswith("students.0.")
    }
    torch.save({"model": weights}, tmp_path / "model_final.pth")
    features, _ = features_of_test_set(load_run(str(tmp_path)), "SynthMetro")
    expected, _ = features_of_test_set(load_run(runs["resnet"]), "SynthMetro")
    np.testing.assert_allclose(features.features, expected.features, atol=1e-6)
    del weights["backbone.conv1.weight"]
    torch.save({"model": weights}, tmp_path / "model_final.pth")
    with pytest.raises(CheckpointError, match=r"not fit the model: 1 missing \['backbone\.conv1\.weight"):
        load_for_evaluation(load_run(str(tmp_path)).cfg)
