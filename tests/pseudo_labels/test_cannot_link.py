"""Tracklets of different people get different labels."""

import numpy as np
import pytest

from mmt_plugin.pseudo_labels import cluster, conflicts, separate_conflicts
from mmt_plugin.pseudo_labels.clustering.cannot_link import simultaneous


def features_of(directions):
    """Unit vectors in the plane, by angle in degrees."""
    angles = np.radians(directions)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_tracklets_of_one_frame_and_camera_are_pairs():
    tracklets = np.array([0, 1, 2, 0, 3, 3, -1, 1, 4])
    frames = np.array([5, 5, 5, 6, 7, 8, 6, 6, -1])
    assert simultaneous(tracklets, frames).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert simultaneous(tracklets[:0], frames[:0]).shape == (0, 2)
    assert simultaneous(tracklets, np.full(9, -1)).shape == (0, 2)


def test_a_cluster_is_split_where_it_must_be():
    # Tracklets 0 and 1 exclude each other; 2 looks like 1, the image of no tracklet like 0.
    units = np.array([0, 0, 1, 1, 2, 2, -1, 3, 3, -1])
    features = features_of([0, 2, 40, 42, 38, 39, 1, 90, 91, 45])
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, -1])
    pairs = np.array([[0, 1], [0, 3]])
    assert conflicts(labels, units, pairs) == 1
    split = separate_conflicts(labels, features, units, pairs)
    assert split.tolist() == [0, 0, 2, 2, 2, 2, 0, 1, 1, -1]
    assert conflicts(split, units, pairs) == 0
    assert labels.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1, -1]


def test_parts_of_a_single_image_are_outliers():
    split = separate_conflicts(np.zeros(3, int), features_of([0, 1, 2]), np.array([0, 0, 1]), [[0, 1]])
    assert split.tolist() == [0, 0, -1]


@pytest.mark.parametrize("seed", range(3))
def test_no_conflict_is_left_and_nothing_else_changes(seed):
    rng = np.random.default_rng(seed)
    labels, units = rng.integers(-1, 6, 300), rng.integers(-1, 40, 300)
    labels[labels >= 0] = np.unique(labels[labels >= 0], return_inverse=True)[1]
    features = rng.standard_normal((300, 8)).astype(np.float32)
    pairs = rng.integers(0, 40, (60, 2))
    split = separate_conflicts(labels, features, units, pairs)
    assert conflicts(labels, units, pairs) > 0 == conflicts(split, units, pairs)
    assert set(split) - {-1} == set(range(split.max() + 1))
    # Clusters are only ever cut.
    assert len(set(zip(split[split >= 0], labels[split >= 0], strict=True))) == split.max() + 1
    free = [c for c in range(6) if not conflicts(np.where(labels == c, 0, -1), units, pairs)]
    for c in free:
        assert len(set(split[labels == c])) == 1
    assert np.array_equal(split, separate_conflicts(labels, features, units, pairs))
    assert np.array_equal(separate_conflicts(labels, features, units, np.empty((0, 2), int)), labels)


def test_the_label_step_separates_what_it_linked(identity_features, settings):
    features, truth = identity_features(240, 16)
    joined = truth // 2  # pairs of people whom the clustering takes for one
    settings.METHOD, settings.KMEANS.NUM_CLUSTERS = "kmeans", 10
    plain = cluster(features, settings, tracklets=truth)
    assert conflicts(plain.labels, truth, np.array([[0, 1]])) <= 1
    pairs = np.array([[a, b] for a in range(20) for b in range(a + 1, 20)])
    assert conflicts(plain.labels, truth, pairs) > 0
    found = cluster(features, settings, tracklets=truth, cannot_link=pairs)
    assert conflicts(found.labels, truth, pairs) == 0
    assert found.num_clusters == len(np.unique(truth)) > joined.max()
