from pathlib import Path

import numpy as np
import pytest
import torch

from mmt_plugin.evaluation.rerank import jaccard_distances, rerank
from mmt_plugin.pseudo_labels import jaccard_graph

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "visda_eval.npz"


def rerank_slowly(query, gallery, k1, k2, lambda_value, power):
    """The classic formula on the full matrix, set by set, in float64."""
    features = np.concatenate([query, gallery]).astype(np.float64)
    squared = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    scaled = (squared / squared.max(axis=1, keepdims=True)) ** power
    ranks = squared.copy()
    np.fill_diagonal(ranks, -1)
    lists = np.argsort(ranks, axis=1)[:, : k1 + 1].tolist()
    half = int(np.around(k1 / 2)) + 1

    def reciprocal(i, width):
        return {j for j in lists[i][:width] if i in lists[j][:width]}

    vectors = np.zeros_like(scaled)
    for i in range(len(features)):
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
    shared = np.minimum(vectors[: len(query), None], vectors[None, len(query) :]).sum(axis=2)
    return (1 - lambda_value) * (1 - shared / (2 - shared)) + lambda_value * scaled[
        : len(query), len(query) :
    ]


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
