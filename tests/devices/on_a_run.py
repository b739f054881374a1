"""What follows a training on a second device: resuming, evaluation, export, features, a report; labels."""

import json

import pytest
import torch

from mmt_plugin.engine.pipeline import train
from mmt_plugin.inference import FeatureExtractor
from mmt_plugin.pseudo_labels import cluster, nearest_neighbours


def test_a_run_and_what_is_made_of_it(sim, tiny_config, cut_off, command, tmp_path):
    overrides = {
        "TEST__EVAL_PERIOD": 1,
        "SOLVER__CHECKPOINT_PERIOD": 1,
        "SOLVER__WARMUP_ITERS": 0,
        "REPORT__ENABLED": True,
        "REPORT__LABEL_NOISE": True,
        "MMT__SOURCE__PRETRAIN": False,
    }
    cfg = tiny_config(MODEL__DEVICE=sim, **overrides)
    with cut_off(3):
        train(cfg, resume=False)
    metrics = train(cfg, resume=True)
    assert 0 < metrics["mAP"] <= 100
    run = tmp_path / "run"
    assert command("report", run).status == 0
    assert (run / "report.html").is_file()

    ended = command("evaluate", run)
    assert ended.status == 0, ended.err
    assert json.loads((run / "results.json").read_text())["metrics"]["mAP"] == pytest.approx(metrics["mAP"])
    ended = command("export", run, "--format", "torchscript")
    assert ended.status == 0, ended.err
    images = [torch.randint(0, 256, (64, 32, 3), dtype=torch.uint8).numpy() for _ in range(3)]
    features = FeatureExtractor(run, device=sim)(images)
    assert torch.equal(features, FeatureExtractor(run, device="cpu")(images))


@pytest.mark.parametrize("method", ["dbscan", "kmeans"])
def test_labels_are_those_of_the_cpu(sim, tiny_config, method):
    node = tiny_config(PSEUDO_LABELS__METHOD=method, PSEUDO_LABELS__K1=8).PSEUDO_LABELS
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(10, 1, 32, generator=generator)
    points = centres + 0.3 * torch.randn(10, 12, 32, generator=generator)
    features = torch.nn.functional.normalize(points.flatten(0, 1))
    there, here = cluster(features.to(sim), node), cluster(features, node)
    assert there.num_clusters >= 8
    assert (there.labels == here.labels).all()
    assert (there.centroids == here.centroids).all()


def test_neighbours_are_searched_where_the_features_are(sim):
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    expected = nearest_neighbours(features, 5)
    found = nearest_neighbours(features.to(sim), 5)
    assert (found.indices == expected.indices).all()
