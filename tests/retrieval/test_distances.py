"""Distances with and without the camera term, against a loop over pairs."""

import numpy as np
import pytest

from mmt_plugin.pseudo_labels.jaccard.reciprocal import expanded_sets
from mmt_plugin.retrieval import distances as module
from mmt_plugin.retrieval.distances import ImageDistances


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)


@pytest.fixture
def features(identity_features):
    return identity_features(50, 16), identity_features(50, 8)[::-1].copy()


def slow_distances(features, cameras, weight):
    """Image by image, in float64."""
    every = np.zeros((len(features), len(features)))
    for i in range(len(features)):
        for j in range(len(features)):
            every[i, j] = np.sum((features[i].astype(float) - features[j]) ** 2)
            if cameras is not None:
                every[i, j] -= weight * np.sum((cameras[i].astype(float) - cameras[j]) ** 2)
    return every


@pytest.mark.parametrize("weight", [None, 0.0, 0.1, 0.9])
def test_every_pair_is_that_of_the_formula(features, weight):
    identity, cameras = features
    made = ImageDistances(identity, 11, None if weight is None else cameras, weight or 0.0)
    expected = slow_distances(identity, made.cameras, weight)
    blocks = list(made.query_blocks())
    assert [len(block) for block in blocks] == [7, 4]
    np.testing.assert_allclose(np.concatenate(blocks), expected[:11, 11:], atol=1e-5)
    np.testing.assert_allclose(made.rows(3, 9), expected[3:9], atol=1e-5)
    if weight == 0.9:
        assert expected.min() < 0

    neighbours, farthest = made.nearest_and_farthest(6)
    np.testing.assert_allclose(farthest, np.abs(expected).max(axis=1), atol=1e-5)
    np.fill_diagonal(expected, -np.inf)
    assert np.array_equal(neighbours.indices, np.argsort(expected, axis=1, kind="stable")[:, :7])
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(
        neighbours.distances, np.take_along_axis(expected, neighbours.indices, axis=1), atol=1e-5
    )
    sets = expanded_sets(neighbours.indices, 4)
    pairs = sets.tocoo()
    np.testing.assert_allclose(made.on(sets), expected[pairs.row, pairs.col], atol=1e-5)


def test_images_of_other_cameras_come_nearer():
    identity = np.eye(3, dtype=np.float32)
    cameras = np.eye(2, dtype=np.float32)[[0, 0, 1]]
    same, other = ImageDistances(identity, 1, cameras, 0.1).rows(0, 1, first=1)[0]
    assert (same, other) == (pytest.approx(2), pytest.approx(1.8))


def test_lists_are_cut_to_the_images_there_are(features):
    identity, cameras = features
    neighbours, _ = ImageDistances(identity[:4], 1, cameras[:4], 0.1).nearest_and_farthest(30)
    assert np.array_equal(np.sort(neighbours.indices, axis=1), np.tile(np.arange(4), (4, 1)))
