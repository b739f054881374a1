"""What is told of labels without annotations, against slow loops and other libraries."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from mmt_plugin.pseudo_labels import (
    PseudoLabels,
    common_neighbours,
    label_free_quality,
    silhouette,
    stability,
)


def labelled(labels, features):
    return PseudoLabels.from_features(np.asarray(labels), features.astype(np.float32))


def test_silhouette_is_scikit_learns(identity_features):
    features, truth = identity_features(120, 16, noise=0.8)
    labels = np.where(np.random.default_rng(0).random(120) < 0.8, truth, truth[::-1])
    labels = np.unique(labels, return_inverse=True)[1]
    labels[np.flatnonzero(labels == 0)[1:]] = 1  # a cluster of one image
    expected = silhouette_score(features, labels, metric="cosine")
    assert silhouette(features, labels) == pytest.approx(expected, abs=1e-5)
    assert silhouette(3 * features, labels) == pytest.approx(expected, abs=1e-5)
    outliers = np.append(labels, [-1, -1])
    assert silhouette(np.vstack([features, features[:2]]), outliers) == pytest.approx(expected, abs=1e-5)


def test_silhouette_of_a_sample_is_close(identity_features):
    features, truth = identity_features(360, 16)
    whole, sample = silhouette(features, truth), silhouette(features, truth, max_images=90)
    assert sample == pytest.approx(whole, abs=0.05)
    assert sample != whole


def test_silhouette_at_its_limits():
    apart = np.repeat(np.eye(2, 8), 3, axis=0)
    assert silhouette(apart, np.repeat([0, 1], 3)) == 1
    assert silhouette(np.ones((6, 8)), np.repeat([0, 1], 3)) == 0
    with pytest.raises(ValueError, match="at least two clusters"):
        silhouette(apart, np.zeros(6, int))


def test_stability_counts_what_falls_out():
    labels = np.repeat(np.arange(6), 5)
    assert stability((labels + 3) % 6, labels) == 1
    given_up = labels.copy()
    given_up[::5] = -1
    singletons = np.where(given_up < 0, 100 + np.arange(30), given_up)
    assert stability(given_up, labels) == pytest.approx(adjusted_rand_score(labels, singletons))
    assert stability(labels, given_up) == pytest.approx(stability(given_up, labels))
    assert stability(given_up, given_up) == 1


def slow_common_neighbours(one, two, k):
    shares = []
    for i in range(len(one)):
        lists = []
        for features in (one, two):
            units = features / np.linalg.norm(features, axis=1, keepdims=True)
            others = [j for j in np.argsort(-(units @ units[i]), kind="stable") if j != i]
            lists.append(set(others[:k]))
        shares.append(len(lists[0] & lists[1]) / k)
    return np.mean(shares)


def test_common_neighbours_against_the_loop(monkeypatch):
    rng = np.random.default_rng(0)
    one = rng.normal(size=(60, 8)).astype(np.float32)
    two = (one[:, :6] + 0.4 * rng.normal(size=(60, 6))).astype(np.float32)
    expected = slow_common_neighbours(one, two, 5)
    assert 0.2 < expected < 0.9
    assert common_neighbours(one, two, k=5) == pytest.approx(expected)
    monkeypatch.setattr("mmt_plugin.pseudo_labels.quality.label_free.BLOCK", 250)
    assert common_neighbours(one, two, k=5) == pytest.approx(expected)
    assert common_neighbours(one, two, k=5, max_images=30) == pytest.approx(expected, abs=0.1)
    assert common_neighbours(one, -3 * one @ np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)) == 1
    assert common_neighbours(one[:3], two[:3]) == 1  # two others each: all are neighbours


def test_all_of_it(identity_features):
    features, truth = identity_features(60, 16)
    networks = np.stack([features, features])
    first = labelled(truth, features)
    quality = label_free_quality(first, features, networks)
    assert set(quality) == {"clustered", "median_size", "twin_agreement", "silhouette"}
    assert (quality["clustered"], quality["median_size"], quality["twin_agreement"]) == (1, 12, 1)

    labels = truth.copy()
    labels[::4] = -1
    cameras = np.where(labels == 0, 7, np.arange(60) % 3)
    quality = label_free_quality(
        labelled(labels, features), features, networks[:1], previous=first, cameras=cameras
    )
    assert "twin_agreement" not in quality
    assert quality["clustered"] == 0.75
    assert quality["cross_camera"] == pytest.approx(4 / 5)
    assert "conflicts" not in quality
    # Tracklets of three images. Clusters are identities: two tracklets of one may not be seen together.
    tracklets = np.arange(60) // 3
    pairs = np.array([[a, b] for a in range(20) for b in range(a + 1, 20)])
    together = label_free_quality(first, features, networks, together=(tracklets, pairs))["conflicts"]
    shared = [set(truth[tracklets == a]) & set(truth[tracklets == b]) for a, b in pairs]
    assert 0 < together == pytest.approx(np.mean([bool(s) for s in shared]))
    expected = stability(labels, truth) * silhouette(features, labels) * 0.75
    assert quality["score"] == pytest.approx(expected)


def test_degenerate_and_unreadable(identity_features):
    features, _ = identity_features(24, 8)
    networks = np.stack([features, features])
    nothing = label_free_quality(labelled(np.full(24, -1), features), features, networks)
    assert nothing == {"clustered": 0, "twin_agreement": 1}
    one = label_free_quality(labelled(np.zeros(24, int), features), features, networks, previous=None)
    assert "silhouette" not in one
    labels = np.arange(24) % 2
    labels[5] = -1
    whole = label_free_quality(labelled(labels, features), features, networks)
    features, networks = features.copy(), networks.copy()
    features[5] = networks[:, 5] = np.nan
    holed = label_free_quality(
        PseudoLabels.from_features(labels, np.nan_to_num(features)), features, networks
    )
    assert holed["silhouette"] == pytest.approx(whole["silhouette"], abs=1e-6)
    assert holed["twin_agreement"] == 1
