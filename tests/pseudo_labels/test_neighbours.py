import numpy as np
import pytest

from mmt_plugin.pseudo_labels import nearest_neighbours, neighbours
from mmt_plugin.pseudo_labels.neighbours import farthest_squared_distances, pair_squared_distances


def squared_distances(features):
    features = features.astype(np.float64)
    return ((features[:, None, :] - features[None, :, :]) ** 2).sum(axis=2)


@pytest.mark.parametrize(("num_images", "size", "k"), [(1, 4, 1), (15, 3, 15), (200, 8, 21), (300, 512, 5)])
def test_lists_are_the_sorted_rows_of_the_distance_matrix(identity_features, num_images, size, k):
    features, _ = identity_features(num_images, size)
    indices, distances = nearest_neighbours(features, k)
    expected = squared_distances(features)
    assert indices.shape == distances.shape == (num_images, k)
    assert np.array_equal(indices, np.argsort(expected, axis=1, kind="stable")[:, :k])
    assert np.allclose(distances, np.sort(expected, axis=1)[:, :k], atol=1e-5)
    assert (distances[:, 0] == 0).all()


@pytest.mark.parametrize("copies", [2, 5, 20, 40])
def test_every_image_heads_its_own_list_among_duplicates(identity_features, copies):
    features = np.repeat(identity_features(12, 16)[0], copies, axis=0)
    indices, distances = nearest_neighbours(features, 20)
    assert np.array_equal(indices[:, 0], np.arange(len(features)))
    assert (distances[:, 0] == 0).all()
    assert all(len(set(row)) == 20 for row in indices)
    nearest = np.arange(len(features))[:, None] // copies == indices // copies
    assert (nearest.sum(axis=1) == min(copies, 20)).all()


def test_block_size_changes_nothing(identity_features, monkeypatch):
    features, _ = identity_features(150, 24)
    indices, distances = nearest_neighbours(features, 12)
    farthest = farthest_squared_distances(features)
    monkeypatch.setattr(neighbours, "QUERY_BLOCK", 7)
    monkeypatch.setattr(neighbours, "BLOCK_FLOATS", 1)
    blocked_indices, blocked_distances = nearest_neighbours(features, 12)
    assert np.array_equal(blocked_indices, indices)
    assert np.allclose(blocked_distances, distances, atol=1e-5)
    assert np.allclose(farthest_squared_distances(features), farthest, atol=1e-5)


def test_pair_and_farthest_distances(identity_features):
    features, _ = identity_features(90, 16)
    features[7] = features[3]
    expected = squared_distances(features)
    rows, cols = np.divmod(np.arange(90 * 90), 90)
    pairs = pair_squared_distances(features, rows, cols)
    assert np.allclose(pairs, expected.ravel(), atol=1e-6)
    assert pairs[3 * 90 + 7] == 0
    assert np.allclose(farthest_squared_distances(features), expected.max(axis=1), atol=1e-5)


@pytest.mark.parametrize("k", [0, 11])
def test_impossible_list_width_is_refused(k):
    with pytest.raises(ValueError, match=f"cannot list {k} neighbours among 10 images"):
        nearest_neighbours(np.eye(10), k)
