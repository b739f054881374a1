from pathlib import Path

import numpy as np
import pytest

from mmt_plugin.retrieval.ranking import rank_gallery

GOLDEN = Path(__file__).parents[1] / "golden" / "visda_eval.npz"


def rank_slowly(distances, query_ids, gallery_ids, query_cameras, gallery_cameras, max_rank, top_k=None):
    """The rule image by image, from a stable sort of each row."""
    curves, precisions, penalties = [], [], []
    for q in range(len(query_ids)):
        same = gallery_ids == query_ids[q]
        junk = same & (gallery_cameras == query_cameras[q])
        if not (same & ~junk).any():
            continue
        order = np.argsort(distances[q], kind="stable")[:top_k]
        ranked = same[order[~junk[order]]]
        positions = np.flatnonzero(ranked) + 1
        precisions.append(np.mean(np.arange(1, len(positions) + 1) / positions) if len(positions) else 0.0)
        penalties.append(len(positions) / positions[-1] if len(positions) else 0.0)
        first = positions[0] if len(positions) else np.inf
        curves.append([first <= rank for rank in range(1, max_rank + 1)])
    return np.mean(curves, axis=0), precisions, penalties


def problem(queries, gallery, identities, *, levels=None, seed=0):
    rng = np.random.default_rng(seed)
    distances = rng.random((queries, gallery)).astype(np.float32)
    if levels:
        distances = np.round(distances * levels) / np.float32(levels)
    return (
        distances,
        rng.integers(0, identities, queries),
        rng.integers(-1, identities, gallery),
        rng.integers(0, 3, queries),
        rng.integers(0, 3, gallery),
    )


@pytest.mark.parametrize("top_k", [None, 1, 7, 100])
@pytest.mark.parametrize("levels", [None, 5], ids=["no ties", "many ties"])
@pytest.mark.parametrize(("queries", "gallery", "identities"), [(300, 200, 8), (40, 30, 5), (5, 7, 2)])
def test_agrees_with_a_stable_sort(queries, gallery, identities, levels, top_k):
    arguments = problem(queries, gallery, identities, levels=levels)
    found = rank_gallery(*arguments, max_rank=20, top_k=top_k)
    cmc, precisions, penalties = rank_slowly(*arguments, 20, top_k)
    np.testing.assert_allclose(found.cmc, cmc, atol=1e-6)
    np.testing.assert_allclose(found.average_precisions, precisions, atol=1e-12)
    np.testing.assert_allclose(found.inverse_penalties, penalties, atol=1e-12)


@pytest.mark.parametrize(
    ("distances", "mean", "curve"),
    [("squared_euclidean", "map_top100", "cmc"), ("rerank", "rerank_map_top100", "rerank_cmc")],
)
def test_published_top_100_metric(distances, mean, curve):
    golden = np.load(GOLDEN)
    found = rank_gallery(
        golden[distances],
        golden["query_ids"],
        golden["gallery_ids"],
        golden["query_cams"],
        golden["gallery_cams"],
        top_k=100,
    )
    assert found.average_precisions.mean() == pytest.approx(float(golden[mean]), abs=1e-6)
    np.testing.assert_allclose(found.cmc, golden[curve], atol=1e-6)


def test_any_memory_layout_and_type():
    distances, *labels = problem(20, 50, 4)
    expected = rank_gallery(distances, *labels)
    for layout in (
        np.asfortranarray(distances),
        distances.astype(np.float64),
        np.repeat(distances, 2, 1)[:, ::2],
    ):
        assert np.array_equal(rank_gallery(layout, *labels).average_precisions, expected.average_precisions)


def test_what_cannot_be_ranked_is_refused():
    distances, *labels = problem(4, 20, 2)
    with pytest.raises(ValueError, match="expected 4 queries x 20 gallery images"):
        rank_gallery(distances.T, *labels)
    with pytest.raises(ValueError, match="nothing to evaluate"):
        rank_gallery(distances, labels[0] + 5, *labels[1:])
    distances[2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        rank_gallery(distances, *labels)
