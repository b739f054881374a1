import ast
import copy
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN
from yacs.config import CfgNode

from mmt_plugin.pseudo_labels import (
    PseudoLabels,
    agreement,
    cluster,
    dbscan,
    jaccard_graph,
    reliable_labels,
    rho_eps,
)


def as_config(node):
    def convert(value):
        return (
            CfgNode({k: convert(v) for k, v in vars(value).items()}) if hasattr(value, "__dict__") else value
        )

    return CfgNode({"PSEUDO_LABELS": convert(node)})


def test_dbscan_step(identity_features, settings, to_dense, log_lines):
    features, truth = identity_features(360, 32)
    result = cluster(features, settings)
    distance = to_dense(jaccard_graph(features, 20, 6))
    expected = DBSCAN(eps=0.6, min_samples=4, metric="precomputed").fit_predict(distance)
    assert isinstance(result, PseudoLabels)
    assert np.array_equal(result.labels, expected)
    assert result.num_clusters > 10
    assert result.eps == 0.6
    assert agreement(result.labels, truth)["ARI"] > 0.7
    assert len(log_lines) == 1
    for part in (
        "360 images",
        f"{result.num_clusters} clusters",
        "dropped",
        "k-NN",
        "peak memory",
        "Jaccard graph",
        "DBSCAN",
    ):
        assert part in log_lines[0]


def test_whole_config_and_torch_features(identity_features, settings):
    features, _ = identity_features(120, 16)
    result = cluster(torch.from_numpy(features), as_config(settings))
    assert np.array_equal(result.labels, cluster(features, settings).labels)


def test_keys_reach_the_graph(identity_features, settings):
    features, _ = identity_features(240, 16, noise=0.7)
    settings.DBSCAN.MIN_SAMPLES = 2
    for key, value in (
        ("K1", 8),
        ("K2", 2),
        ("K1_INCLUDES_SELF", False),
        ("JACCARD_WEIGHTS", "scaled"),
    ):
        changed = copy.deepcopy(settings)
        setattr(changed, key, value)
        changed.DBSCAN.EPS_RULE = settings.DBSCAN.EPS_RULE = "rho"
        changed.DBSCAN.RHO = settings.DBSCAN.RHO = 0.02
        expected = jaccard_graph(
            features,
            changed.K1,
            changed.K2,
            k1_includes_self=changed.K1_INCLUDES_SELF,
            weights=changed.JACCARD_WEIGHTS,
        )
        assert cluster(features, changed).eps == rho_eps(expected, 0.02)
        assert cluster(features, changed).eps != cluster(features, settings).eps


def test_rho_radius_is_kept_by_passing_it_back(identity_features, settings):
    settings.DBSCAN.EPS_RULE, settings.DBSCAN.RHO = "rho", 0.03
    first, _ = identity_features(240, 16)
    second, _ = identity_features(240, 16, noise=0.6, seed=1)
    earlier = cluster(first, settings)
    eps = earlier.eps
    assert eps == rho_eps(jaccard_graph(first, 20, 6), 0.03)
    assert cluster(second, settings).eps != eps
    kept = cluster(second, settings, previous=earlier)
    assert kept.eps == eps
    settings.DBSCAN.EPS_RULE = "fixed"
    assert np.array_equal(cluster(second, settings, previous=earlier).labels, kept.labels)
    settings.DBSCAN.EPS = eps
    assert np.array_equal(cluster(second, settings).labels, kept.labels)


def test_pair_at_the_radius_is_a_neighbour(identity_features, settings, to_dense):
    features, _ = identity_features(120, 16)
    distance = to_dense(jaccard_graph(features, 20, 6))
    settings.DBSCAN.EPS = float(np.sort(distance[distance > 0.4])[0])
    expected = DBSCAN(eps=settings.DBSCAN.EPS, min_samples=4, metric="precomputed").fit_predict(distance)
    assert np.array_equal(cluster(features, settings).labels, expected)


def test_outliers_as_singletons_follow_the_clusters(identity_features, settings, log_lines):
    features, _ = identity_features(240, 16, noise=0.7)
    dropped = cluster(features, settings)
    settings.OUTLIERS = "singletons"
    kept = cluster(features, settings)
    outliers = dropped.labels < 0
    assert 0 < outliers.sum() < 240
    assert np.array_equal(kept.labels[~outliers], dropped.labels[~outliers])
    assert kept.labels[outliers].tolist() == list(range(dropped.num_clusters, kept.num_clusters))
    assert (kept.counts[dropped.num_clusters :] == 1).all()
    assert np.allclose(kept.centroids[dropped.num_clusters :], features[outliers], atol=1e-6)
    assert f"{outliers.sum()} outliers (kept as singletons)" in log_lines[-1]


def test_kmeans_step(identity_features, settings, log_lines):
    features, _ = identity_features(240, 16)
    features = features * 3
    settings.METHOD, settings.KMEANS.NUM_CLUSTERS = "kmeans", 20
    result = cluster(features, settings)
    assert result.eps is None
    assert (result.num_clusters, result.num_outliers) == (20, 0)
    mean = features[result.labels == 4].mean(axis=0)
    assert np.allclose(result.centroids[4], mean / np.linalg.norm(mean), atol=1e-6)
    assert "k-means" in log_lines[0]
    settings.KMEANS.SEED = 2
    assert not np.array_equal(cluster(features, settings).labels, result.labels)


@pytest.mark.parametrize("outliers", ["drop", "singletons"])
@pytest.mark.parametrize("num_images", [0, 1, 3, 30])
def test_all_outliers(num_images, outliers, settings):
    settings.OUTLIERS, settings.DBSCAN.MIN_SAMPLES = outliers, 31
    features = np.random.default_rng(0).standard_normal((num_images, 6)).astype(np.float32)
    result = cluster(features, settings)
    if outliers == "drop":
        assert (result.num_clusters, result.num_outliers) == (0, num_images)
        assert result.centroids.shape == (0, 6)
    else:
        assert (result.num_clusters, result.num_outliers) == (num_images, 0)
        assert result.centroids.shape == (num_images, 6)


def test_one_cluster_of_few_images(settings):
    result = cluster(np.ones((7, 4)) / 2, settings)
    assert result.labels.tolist() == [0] * 7
    assert result.largest == 7
    assert np.allclose(result.centroids, 0.5)


def test_rho_rule_on_identical_images(settings):
    settings.DBSCAN.EPS_RULE = "rho"
    assert cluster(np.ones((7, 4)) / 2, settings).labels.tolist() == [0] * 7


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "METHOD",
            "ground_truth",
            r"PSEUDO_LABELS\.METHOD is 'ground_truth'; clustering accepts 'dbscan', 'kmeans'",
        ),
        ("OUTLIERS", "keep", r"PSEUDO_LABELS\.OUTLIERS is 'keep'.*'drop', 'singletons'"),
        ("DBSCAN.EPS_RULE", "guess", r"PSEUDO_LABELS\.DBSCAN\.EPS_RULE is 'guess'.*'fixed', 'rho'"),
        ("DBSCAN.EPS", 1.0, r"PSEUDO_LABELS\.DBSCAN\.EPS"),
        ("DBSCAN.EPS", -0.5, r"PSEUDO_LABELS\.DBSCAN\.EPS"),
        ("JACCARD_WEIGHTS", "linear", r"PSEUDO_LABELS\.JACCARD_WEIGHTS"),
        ("K2", 50, r"PSEUDO_LABELS\.K2"),
    ],
)
def test_bad_values_name_their_key(settings, key, value, message):
    *rooms, name = key.split(".")
    node = settings
    for room in rooms:
        node = getattr(node, room)
    setattr(node, name, value)
    with pytest.raises(ValueError, match=message):
        cluster(np.eye(30), settings)


def test_kmeans_refuses_what_it_cannot_do(settings):
    settings.METHOD, settings.KMEANS.NUM_CLUSTERS = "kmeans", 31
    with pytest.raises(ValueError, match=r"PSEUDO_LABELS\.KMEANS\.NUM_CLUSTERS"):
        cluster(np.eye(30), settings)


def test_camera_aware_labels(identity_features, dense_camera_aware, settings):
    features, _ = identity_features(180, 16, noise=0.6)
    cameras = np.random.default_rng(1).integers(0, 4, 180)
    settings.DBSCAN.EPS = 0.4
    plain = cluster(features, settings)
    settings.CAMERA_AWARE.ENABLED = True
    expected = dense_camera_aware(features, cameras, 5, 20, 2, 4)
    found = cluster(features, settings, cameras=cameras)
    dense = DBSCAN(eps=0.4, min_samples=4, metric="precomputed").fit_predict(expected)
    assert np.array_equal(found.labels, dense)
    assert not np.array_equal(found.labels, plain.labels)
    with pytest.raises(ValueError, match=r"CAMERA_AWARE.ENABLED is True, but no camera numbers"):
        cluster(features, settings)


def test_reliability_keeps_its_threshold(identity_features, settings):
    settings.RELIABILITY.ENABLED, settings.RELIABILITY.EPS_GAP = True, 0.1
    features, _ = identity_features(300, 16, noise=0.6)
    graph = jaccard_graph(features, 20, 6)
    tight, middle, loose = (dbscan(graph, eps, 4) for eps in (0.5, 0.6, 0.7))
    expected, threshold = reliable_labels(middle, tight, loose)
    first = cluster(features, settings)
    assert np.array_equal(first.labels, expected)
    assert first.independence == threshold
    assert not np.array_equal(first.labels, middle)
    again = cluster(features, settings, previous=dataclasses.replace(first, independence=0.0))
    assert again.independence == 0.0
    assert np.array_equal(again.labels, reliable_labels(middle, tight, loose, 0.0)[0])


@pytest.mark.parametrize("search", ["hnsw", "tree"])
def test_approximate_search_says_its_recall(identity_features, settings, log_lines, search):
    features, _ = identity_features(600, 16)
    settings.SEARCH = search
    found = cluster(features, settings)
    assert 0.5 < found.recall <= 1
    assert f"({search}): recall@19 {found.recall:.3f}" in log_lines[0]
    settings.SEARCH = "exact"
    exact = cluster(features, settings)
    assert exact.recall is None
    assert agreement(found.labels, exact.labels)["ARI"] > 0.8


def test_room_imports_neither_fastreid_nor_other_rooms():
    files = sorted(Path(sys.modules[cluster.__module__].__file__).parent.rglob("*.py"))
    assert len(files) > 20
    for file in files:
        for statement in ast.walk(ast.parse(file.read_text())):
            if isinstance(statement, ast.Import):
                names = [name.name for name in statement.names]
            elif isinstance(statement, ast.ImportFrom):
                assert statement.level < 2, f"{file.name} imports from another room"
                own = statement.level or statement.module.startswith("mmt_plugin.pseudo_labels")
                names = [] if own else [statement.module]
                names = [name for name in names if name != "mmt_plugin.system.compilation"]  # numba's alone
            else:
                continue
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"fastreid", "mmt_plugin"}, f"{file.name} imports {names}"
