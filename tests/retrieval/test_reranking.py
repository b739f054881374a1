from pathlib import Path

import numpy as np
import pytest
import torch

from mmt_plugin.pseudo_labels import jaccard_graph
from mmt_plugin.retrieval.distances import ImageDistances
from mmt_plugin.retrieval.reranking import jaccard_distances, rerank, rerank_distances

GOLDEN = Path(__file__).parents[1] / "golden" / "visda_eval.npz"


def rerank_slowly(query, gallery, k1, k2, lambda_value, power):
    """The classic formula on the full matrix, set by set, in float64."""
    features = np.concatenate([query, gallery]).astype(np.float64)
    squared = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    return rerank_matrix_slowly(squared, len(query), k1, k2, lambda_value, lambda scaled: scaled**power)


def rerank_matrix_slowly(distances, queries, k1, k2, lambda_value, scale):
    """The same of any distances; `scale` is what happens to them once divided by their row's largest."""
    scaled = scale(distances / np.abs(distances).max(axis=1, keepdims=True))
    ranks = distances.copy()
    np.fill_diagonal(ranks, -np.inf)
    lists = np.argsort(ranks, axis=1)[:, : k1 + 1].tolist()
    half = int(np.around(k1 / 2)) + 1

    def reciprocal(i, width):
        return {j for j in lists[i][:width] if i in lists[j][:width]}

    vectors = np.zeros_like(scaled)
    for i in range(len(distances)):
        members = reciprocal(i, k1 + 1)
        expanded = set(members)
        for c in members:
            half_set = reciprocal(c, half)
            if len(half_set & members) > 2 / 3 * len(half_set):
                expanded |= half_set
        for j in expanded:
            vectors[i, j] = np.exp(-scaled[i, j])
        vectors[i] /= vectors[i].sum()
    vectors = np.stack([vectors[row[:k2]].mean(axis=0) for row in lists])
    shared = np.minimum(vectors[:queries, None], vectors[None, queries:]).sum(axis=2)
    return (1 - lambda_value) * (1 - shared / (2 - shared)) + lambda_value * scaled[:queries, queries:]


@pytest.fixture
def with_cameras(identity_features):
    """Function of w: distances of 120 images with a camera term, and the same as a float64 matrix."""
    features = identity_features(120, 16).astype(np.float64)
    cameras = identity_features(120, 4)[::-1].astype(np.float64)

    def make(weight):
        squared = ((features[:, None] - features[None]) ** 2).sum(axis=2)
        squared -= weight * ((cameras[:, None] - cameras[None]) ** 2).sum(axis=2)
        distances = ImageDistances(features.astype(np.float32), 20, cameras.astype(np.float32), weight)
        return distances, squared

    return make


def signed(power):
    return lambda scaled: np.sign(scaled) * np.abs(scaled) ** power


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("weight", [0.01, 0.8])
def test_camera_term_equals_the_obvious_loop(with_cameras, weight, power):
    distances, matrix = with_cameras(weight)
    assert (matrix.min() < 0) == (weight == 0.8)
    found = rerank_distances(distances, 9, 4, 0.3, power)
    expected = rerank_matrix_slowly(matrix, 20, 9, 4, 0.3, signed(power))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if weight == 0.01:  # nothing negative: the published formula, which squares without a sign
        published = rerank_matrix_slowly(matrix, 20, 9, 4, 0.3, lambda scaled: scaled**power)
        np.testing.assert_allclose(found, published, atol=1e-5)


def test_negative_distances_stay_nearest(with_cameras):
    """With lambda 1 the order is that of the distances; the published square reverses part of it."""
    distances, matrix = with_cameras(0.8)
    block = np.concatenate(list(distances.query_blocks()))
    nearest = block.argmin(axis=1)
    assert (block.min(axis=1) < 0).any()
    found = rerank_distances(distances, 9, 4, 1.0, power=2)
    assert np.array_equal(found.argmin(axis=1), nearest)
    assert np.isfinite(found).all()
    published = rerank_matrix_slowly(matrix, 20, 9, 4, 1.0, lambda scaled: scaled**2)
    assert not np.array_equal(published.argmin(axis=1), nearest)


def test_no_camera_weight_is_no_camera_term(with_cameras, identity_features):
    distances, _ = with_cameras(0.0)
    features = identity_features(120, 16)
    assert np.array_equal(rerank_distances(distances, 9, 4), rerank(features[:20], features[20:], 9, 4))


def test_images_that_differ_in_camera_only_are_ranked():
    """All distances negative or 0: their largest is an image's distance to itself."""
    cameras = np.eye(6, dtype=np.float32)
    distances = ImageDistances(np.ones((6, 1), dtype=np.float32), 2, cameras, 0.5)
    assert np.isfinite(rerank_distances(distances, 3, 2, 0.3, power=2)).all()


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("k1", "k2", "lambda_value"), [(20, 6, 0.3), (9, 1, 0.0), (5, 5, 1.0)])
def test_equals_the_obvious_loop(identity_features, k1, k2, lambda_value, power):
    features = identity_features(120, 16)
    query, gallery = features[:20], features[20:]
    found = rerank(query, torch.from_numpy(gallery), k1, k2, lambda_value, power)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, rerank_slowly(query, gallery, k1, k2, lambda_value, power), atol=3e-6)


def test_published_values():
    golden = np.load(GOLDEN)
    found = rerank(
        golden["query"],
        golden["gallery"],
        int(golden["rerank_k1"]),
        int(golden["rerank_k2"]),
        float(golden["rerank_lambda"]),
        power=2,
    )
    np.testing.assert_allclose(found, golden["rerank"], atol=1e-5)


def test_jaccard_distances_are_those_of_the_graph(identity_features):
    features = identity_features(120, 16)
    graph = jaccard_graph(features, 20, 6)
    expected = np.ones((20, 100), dtype=np.float32)
    rows = np.repeat(np.arange(120), np.diff(graph.indptr))
    block = (rows < 20) & (graph.indices >= 20)
    expected[rows[block], graph.indices[block] - 20] = graph.data[block]
    assert np.array_equal(jaccard_distances(features[:20], features[20:], 20, 6), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(3), np.eye(4)), "3 columns, gallery features 4"),
        ((np.zeros((0, 4)), np.eye(4)), "cannot rank 4 gallery images for 0 queries"),
        ((np.eye(4), np.eye(4), 20, 21), "TEST.RERANK.K2"),
        ((np.eye(4), np.eye(4), 20, 6, 1.5), "TEST.RERANK.LAMBDA"),
        ((np.eye(4), np.full((4, 4), np.nan)), "NaN or infinity in row 0"),
    ],
)
def test_what_cannot_be_reranked_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rerank(*arguments)
