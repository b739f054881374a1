import functools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels import (
    Neighbours,
    dbscan,
    graph_from_neighbours,
    jaccard_graph,
    nearest_neighbours,
    threads,
)
from mmt_plugin.pseudo_labels.jaccard import graph as jaccard
from mmt_plugin.pseudo_labels.jaccard import overlap, reciprocal
from mmt_plugin.pseudo_labels.neighbours import exact as exact_search

GOLDEN = Path(__file__).parents[1] / "golden" / "jaccard_k20_6.npz"


def stored_pairs(graph):
    return np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr)), graph.indices


def assert_is_graph_of(graph, distance, tolerance=2e-6):
    """Every stored pair has its distance; every other pair is at 1."""
    assert isinstance(graph, csr_array)
    assert graph.dtype == np.float32
    assert graph.has_sorted_indices
    rows, cols = stored_pairs(graph)
    assert (rows != cols).all()
    assert (graph.data >= 0).all()
    assert abs(graph.data - distance[rows, cols]).max(initial=0) <= tolerance
    rest = np.ones(graph.shape, dtype=bool)
    rest[rows, cols] = False
    np.fill_diagonal(rest, False)
    assert (distance[rest] >= 1 - 1e-6).all()
    assert abs(graph - graph.T).max() == 0 if graph.nnz else True


def test_published_distances():
    golden = np.load(GOLDEN)
    graph = jaccard_graph(golden["features"], int(golden["k1"]), int(golden["k2"]))
    assert_is_graph_of(graph, golden["distance"], tolerance=1e-5)
    assert graph.nnz > 400 * 20


@pytest.mark.parametrize("weights", ["softmax", "scaled"])
@pytest.mark.parametrize("k1_includes_self", [True, False])
@pytest.mark.parametrize(
    ("num_images", "size", "k1", "k2"),
    [
        (150, 16, 20, 6),
        (150, 64, 30, 6),
        (120, 8, 7, 3),
        (120, 16, 9, 4),
        (120, 16, 13, 6),
        (90, 5, 15, 1),
        (80, 4, 2, 2),
        (60, 6, 1, 1),
        (45, 3, 11, 11),
    ],
)
def test_equals_the_obvious_loop(
    identity_features, dense_jaccard, num_images, size, k1, k2, k1_includes_self, weights
):
    features, _ = identity_features(num_images, size, noise=0.8)
    graph = jaccard_graph(features, k1, k2, k1_includes_self=k1_includes_self, weights=weights)
    expected = dense_jaccard(features, k1, k2, k1_includes_self=k1_includes_self, scaled=weights == "scaled")
    assert_is_graph_of(graph, expected)


def test_both_conventions_differ(identity_features):
    features, _ = identity_features(150, 16)
    published = jaccard_graph(features, 20, 6)
    assert abs(published - jaccard_graph(features, 20, 6, k1_includes_self=False)).max() > 1e-3
    assert abs(published - jaccard_graph(features, 20, 6, weights="scaled")).max() > 1e-4


def test_bound_keeps_the_pairs_strictly_below_it(identity_features, to_dense):
    features, _ = identity_features(150, 16)
    everything = to_dense(jaccard_graph(features, 20, 6))
    some_distance = float(np.sort(everything[everything < 0.9])[-1])
    for bound in (0.3, some_distance, 1.0):
        graph = jaccard_graph(features, 20, 6, bound)
        expected = everything < np.float32(bound)
        np.fill_diagonal(expected, False)
        rows, cols = stored_pairs(graph)
        assert graph.nnz == expected.sum()
        assert expected[rows, cols].all()
        assert np.array_equal(graph.data, everything[rows, cols])


def test_rows_a_call_change_nothing(identity_features, monkeypatch):
    features, _ = identity_features(330, 16)
    graph = jaccard_graph(features, 20, 6)
    for module in (exact_search, jaccard, overlap, reciprocal):
        monkeypatch.setattr(module, "over_rows", functools.partial(threads.over_rows, rows_per_call=7))
    split = jaccard_graph(features, 20, 6)
    assert np.array_equal(split.indptr, graph.indptr)
    assert np.array_equal(split.indices, graph.indices)
    assert np.array_equal(split.data, graph.data)


def test_number_of_threads_changes_nothing(identity_features):
    features, _ = identity_features(330, 16)
    before = torch.get_num_threads()
    graphs = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            graphs.append(jaccard_graph(features, 20, 6))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(graphs[0].indices, graphs[1].indices)
    assert np.array_equal(graphs[0].data, graphs[1].data)


def test_weights_that_vanish_leave_no_edges():
    # exp(-800) is 0 in float32: two groups far from each other in each list, without normalisation.
    features = np.random.default_rng(0).standard_normal((40, 4)) + np.repeat([[0.0], [20.0]], 20, axis=0)
    graph = jaccard_graph(features, 30, 6)
    rows, cols = stored_pairs(graph)
    assert len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == graph.nnz
    assert ((rows < 20) == (cols < 20)).all()


@pytest.mark.parametrize("k2", [1, 6])
@pytest.mark.parametrize("copies", [2, 5, 20, 21, 40])
def test_duplicates(identity_features, dense_jaccard, to_dense, copies, k2):
    features = np.repeat(identity_features(8, 16, per_identity=1)[0], copies, axis=0)
    lists = nearest_neighbours(features, min(20, len(features))).indices
    graph = jaccard_graph(features, 20, k2)
    assert_is_graph_of(graph, dense_jaccard(features, 20, k2, lists=lists))
    if copies <= 20:
        same_image = np.arange(len(features))[:, None] // copies == np.arange(len(features)) // copies
        rows, cols = stored_pairs(graph)
        zeros_stored = same_image[rows, cols]
        assert zeros_stored.sum() == len(features) * (copies - 1)
        assert graph.data[zeros_stored].max() <= 1e-6
    if k2 == 6:
        clusters = dbscan(graph, 0.6, 2).reshape(8, copies)
        assert (clusters == clusters[:, :1]).all()


def test_identical_images_only():
    graph = jaccard_graph(np.tile([[0.6, 0.8]], (15, 1)), 20, 6, weights="scaled")
    assert graph.nnz == 15 * 14
    assert graph.data.max() <= 1e-6


@pytest.mark.parametrize("weights", ["softmax", "scaled"])
def test_collapsed_features_keep_their_neighbours(weights):
    # Differences below the rounding of norms and products, on which a largest distance may come out as 0.
    noise = 1e-5 * np.random.default_rng(0).standard_normal((20, 2, 64))
    for pair in 0.125 + noise:
        assert jaccard_graph(pair, 2, 1, weights=weights).nnz == 2
    assert jaccard_graph(0.125 + noise.reshape(40, 64), 40, 1, weights=weights).nnz == 40 * 39


@pytest.mark.parametrize("num_images", [2, 3, 7, 19])
def test_lists_are_cut_to_a_small_set(identity_features, dense_jaccard, log_lines, num_images):
    features, _ = identity_features(num_images, 8, noise=0.8, per_identity=3)
    assert_is_graph_of(jaccard_graph(features, 20, 6), dense_jaccard(features, 20, 6))
    assert log_lines == [f"Neighbour lists of 20 are cut to the {num_images} images there are."]


@pytest.mark.parametrize("num_images", [0, 1])
def test_nothing_to_compare(num_images):
    graph = jaccard_graph(np.zeros((num_images, 8)), 20, 6)
    assert graph.shape == (num_images, num_images)
    assert graph.nnz == 0
    assert graph.dtype == np.float32


def test_one_dimension_and_zero_vectors(dense_jaccard):
    rng = np.random.default_rng(0)
    line = rng.standard_normal((60, 1)).astype(np.float32)
    assert_is_graph_of(jaccard_graph(line, 10, 3), dense_jaccard(line, 10, 3))
    plane = rng.standard_normal((60, 2))
    plane[5] = 0
    assert_is_graph_of(jaccard_graph(plane, 10, 3), dense_jaccard(plane.astype(np.float32), 10, 3))


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float64),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: torch.from_numpy(x),
        lambda x: torch.from_numpy(x).double().requires_grad_(),
        lambda x: torch.from_numpy(x.T.copy()).T,
    ],
    ids=["float64", "column-major", "strided", "torch", "torch float64 with gradient", "torch transposed"],
)
def test_any_container(identity_features, convert):
    features, _ = identity_features(100, 16)
    expected = jaccard_graph(features, 20, 6)
    graph = jaccard_graph(convert(features), 20, 6)
    assert np.array_equal(graph.indices, expected.indices)
    assert np.array_equal(graph.data, expected.data)


@pytest.mark.parametrize("dtype", [np.float16, torch.float16, torch.bfloat16])
def test_half_precision_is_widened_first(identity_features, dense_jaccard, dtype):
    features, _ = identity_features(100, 16)
    if isinstance(dtype, torch.dtype):
        features = torch.from_numpy(features).to(dtype)
        widened = features.float().numpy()
    else:
        features = features.astype(dtype)
        widened = features.astype(np.float32)
    assert_is_graph_of(jaccard_graph(features, 20, 6), dense_jaccard(widened, 20, 6))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_bad_values_name_their_row(bad):
    features = np.random.default_rng(0).standard_normal((30, 4))
    features[[17, 20], 2] = bad
    with pytest.raises(ValueError, match=r"NaN or infinity in row 17 \(and 1 further rows\)"):
        jaccard_graph(features, 20, 6)


@pytest.mark.parametrize(
    ("features", "error"),
    [
        (np.zeros(5), ValueError),
        (np.zeros((5, 0)), ValueError),
        (np.zeros((5, 2, 2)), ValueError),
        (np.zeros((5, 2), dtype=np.int64), TypeError),
        (torch.zeros((5, 2), dtype=torch.int64), TypeError),
    ],
)
def test_not_a_feature_matrix(features, error):
    with pytest.raises(error, match="expected"):
        jaccard_graph(features, 20, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k1": 0, "k2": 1}, "PSEUDO_LABELS.K1"),
        ({"k1": 20, "k2": 0}, "PSEUDO_LABELS.K2"),
        ({"k1": 20, "k2": 21}, "PSEUDO_LABELS.K2"),
        ({"k1": 20, "k2": 6, "weights": "linear"}, "PSEUDO_LABELS.JACCARD_WEIGHTS"),
        ({"k1": 20, "k2": 6, "max_distance": 0.0}, "max_distance"),
        ({"k1": 20, "k2": 6, "max_distance": 1.5}, "max_distance"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        jaccard_graph(np.eye(30), **arguments)


def test_lists_must_fit_the_features():
    lists = nearest_neighbours(np.eye(30), 5)
    with pytest.raises(ValueError, match="headed by its own image"):
        graph_from_neighbours(np.eye(30), Neighbours(lists.indices[:, ::-1], lists.distances), 5, 2)
    with pytest.raises(ValueError, match="expected 30 neighbour lists"):
        graph_from_neighbours(np.eye(30), Neighbours(lists.indices[:20], lists.distances[:20]), 5, 2)


@pytest.mark.parametrize(("noise", "bound"), [(0.35, None), (1.0, 0.6)])
def test_memory_stays_far_below_a_dense_matrix(identity_features, noise, bound):
    features, _ = identity_features(6000, 64, noise=noise)
    tracemalloc.start()
    try:
        graph = jaccard_graph(features, 20, 6, bound, weights="scaled")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert graph.nnz > 6000 * 5
    assert peak < 6000 * 6000 * 4 / 2
