import io

import numpy as np
import pytest
import torch

from mmt_plugin.pseudo_labels import PseudoLabels

features = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
some_labels = np.array([1, -1, 0, 1, 2, 1, -1, 0])


def test_counts_and_centroids():
    result = PseudoLabels.from_features(some_labels, features, eps=0.5)
    assert result.counts.tolist() == [2, 3, 1]
    assert (result.num_clusters, result.num_outliers, result.largest) == (3, 2, 3)
    assert result.labels.dtype == result.counts.dtype == np.int64
    assert result.centroids.dtype == np.float32
    for c in range(3):
        mean = features[some_labels == c].astype(np.float64).mean(axis=0)
        assert np.allclose(result.centroids[c], mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("num_images", [0, 4])
def test_no_clusters(num_images):
    result = PseudoLabels.from_features(np.full(num_images, -1), features[:num_images])
    assert result.centroids.shape == (0, 5)
    assert result.centroids.dtype == np.float32
    assert result.counts.shape == (0,)
    assert (result.num_clusters, result.num_outliers, result.largest) == (0, num_images, 0)


def test_mean_of_opposite_features_is_finite():
    result = PseudoLabels.from_features(np.array([0, 0]), np.array([[1, 0], [-1, 0]], dtype=np.float32))
    assert result.centroids.tolist() == [[0, 0]]


@pytest.mark.parametrize("eps", [None, 0.25])
@pytest.mark.parametrize("labels", [some_labels, np.full(8, -1)])
def test_checkpoint_round_trip(labels, eps):
    result = PseudoLabels.from_features(labels, features, eps=eps, recall=0.5)
    file = io.BytesIO()
    torch.save(result.state_dict(), file)
    file.seek(0)
    restored = PseudoLabels.from_state_dict(torch.load(file, weights_only=True))
    assert (restored.eps, restored.recall, restored.independence) == (eps, 0.5, None)
    for name in ("labels", "centroids", "counts"):
        before, after = getattr(result, name), getattr(restored, name)
        assert after.dtype == before.dtype
        assert np.array_equal(after, before)


def test_is_frozen():
    with pytest.raises(AttributeError):
        PseudoLabels.from_features(some_labels, features).eps = 0.1


@pytest.mark.parametrize(
    ("labels", "num_centroids", "counts"),
    [
        (some_labels, 3, [2, 2, 1]),
        (some_labels, 2, [2, 3, 1]),
        (some_labels, 2, [2, 3]),
        (np.where(some_labels == 2, 3, some_labels), 4, [2, 3, 0, 1]),
    ],
    ids=["wrong count", "centroid missing", "cluster missing", "gap"],
)
def test_parts_that_do_not_fit_are_refused(labels, num_centroids, counts):
    with pytest.raises(ValueError, match=r"labels are not dense|centroids have shape"):
        PseudoLabels(labels, np.zeros((num_centroids, 5), np.float32), np.array(counts))
