import numpy as np
import pytest
import torch

from mmt_plugin.pseudo_labels import nearest_neighbours
from mmt_plugin.pseudo_labels.neighbours import exact as exact_search
from mmt_plugin.pseudo_labels.neighbours import nearest as neighbours
from mmt_plugin.pseudo_labels.neighbours import products, shortlists
from mmt_plugin.pseudo_labels.neighbours import tree as tree_search
from mmt_plugin.pseudo_labels.neighbours.nearest import farthest_squared_distances, search_others


def squared_distances(features):
    features = features.astype(np.float64)
    return ((features[:, None, :] - features[None, :, :]) ** 2).sum(axis=2)


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float64], ids=["float32", "bfloat16", "float64"])
def product_dtype(request, monkeypatch):
    """Every precision of the product, whichever a trial finds the cheapest."""

    def forced(features, k, groups, rows=None):
        asked = products.prepare(features, request.param)
        return asked if asked.holds_all else products.prepare(features, torch.float64)

    monkeypatch.setattr(exact_search, "cheapest_products", forced)
    return request.param


@pytest.mark.parametrize(("num_images", "size", "k"), [(1, 4, 1), (15, 3, 15), (200, 8, 21), (300, 512, 5)])
def test_lists_are_the_sorted_rows_of_the_distance_matrix(
    identity_features, product_dtype, num_images, size, k
):
    features, _ = identity_features(num_images, size)
    lists = nearest_neighbours(features, k)
    expected = squared_distances(features)
    assert lists.indices.shape == lists.distances.shape == (num_images, k)
    assert lists.indices.dtype == np.int32
    assert np.array_equal(lists.indices, np.argsort(expected, axis=1, kind="stable")[:, :k])
    assert np.allclose(lists.distances, np.sort(expected, axis=1)[:, :k], atol=1e-5)
    assert (lists.distances[:, 0] == 0).all()
    assert lists.recall is None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_lengths_may_differ(product_dtype, scale):
    rng = np.random.default_rng(0)
    features = (scale * rng.standard_normal((260, 12)) * rng.uniform(0.1, 3, (260, 1))).astype(np.float32)
    features[17] = 0
    expected = np.argsort(squared_distances(features), axis=1, kind="stable")[:, :9]
    assert np.array_equal(nearest_neighbours(features, 9).indices, expected)


def test_near_ties_are_decided_in_float32(product_dtype):
    # A line of images whose neighbours differ by far less than bfloat16 resolves.
    angles = np.arange(300) * 1e-3 + 1e-5 * np.arange(300) ** 1.5
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    features = np.pad(features, ((0, 0), (0, 30)))
    features[:, 5] = 0.3
    assert np.array_equal(
        nearest_neighbours(features, 8).indices,
        np.argsort(squared_distances(features), axis=1, kind="stable")[:, :8],
    )


@pytest.mark.parametrize("copies", [2, 5, 20, 40, 250])
def test_every_image_heads_its_own_list_among_duplicates(identity_features, product_dtype, copies):
    features = np.repeat(identity_features(12, 16)[0], copies, axis=0)
    lists = nearest_neighbours(features, 20)
    assert np.array_equal(lists.indices[:, 0], np.arange(len(features)))
    assert (lists.distances[:, 0] == 0).all()
    assert all(len(set(row)) == 20 for row in lists.indices)
    nearest = np.arange(len(features))[:, None] // copies == lists.indices // copies
    assert (nearest.sum(axis=1) == min(copies, 20)).all()
    # Equal distances go by index, also where more images tie than a shortlist holds.
    assert (np.diff(lists.indices[:, 1 : min(copies, 20)], axis=1) > 0).all()


def test_block_size_changes_nothing(identity_features, monkeypatch):
    features, _ = identity_features(550, 24)
    lists = nearest_neighbours(features, 12)
    farthest = farthest_squared_distances(features)
    monkeypatch.setattr(products, "BLOCKS", dict.fromkeys(products.BLOCKS, 128))
    monkeypatch.setattr(shortlists, "BLOCKS", products.BLOCKS)
    monkeypatch.setattr(exact_search, "BLOCKS", products.BLOCKS)
    monkeypatch.setattr(neighbours, "BLOCK", 100)
    blocked = nearest_neighbours(features, 12)
    assert np.array_equal(blocked.indices, lists.indices)
    assert np.array_equal(blocked.distances, lists.distances)
    assert np.allclose(farthest_squared_distances(features), farthest, atol=1e-5)


def of_clusters(size):
    """Images of clusters of 17, normalised: 221 of them."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.standard_normal((13, size)), 17, axis=0)
    features = centres + 0.9 * rng.standard_normal(centres.shape)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def with_first(features, factor):
    return np.vstack([features[:1] * factor, features[1:]])


def near_one(features, spread):
    """Every second image differs from the first by the spread only."""
    noise = np.random.default_rng(1).standard_normal(features.shape)
    return np.where(np.arange(len(features))[:, None] % 2 == 0, features[:1] + spread * noise, features)


def in_bundles(features, size, spread):
    """As many images around each of a few of them."""
    noise = np.random.default_rng(1).standard_normal(features.shape)
    return np.repeat(features[::size], size, axis=0)[: len(features)] + spread * noise


HOSTILE = {
    "a common offset": lambda features: features + 3 * features.std() * np.arange(features.shape[1]),
    "positive, as after ReLU": lambda features: np.maximum(features + 0.1, 0),
    "half of them equal": lambda features: near_one(features, 0.0),
    "half of them nearly equal": lambda features: near_one(features, 1e-5),
    "all equal": lambda features: near_one(features, 0.0)[np.zeros(len(features), int)],
    "heavy tails": lambda features: np.tan(1.4 * features / np.abs(features).max()) ** 5,
    "one far away": lambda features: with_first(features, 1e6),
    "one beyond float32's squares": lambda features: with_first(features, 1e25),
    "tiny": lambda features: 1e-20 * features,
    "large": lambda features: 1e15 * features,
    "equidistant": lambda features: np.eye(*features.shape),
    "a grid": lambda features: np.round(4 * features),
    "bundles": lambda features: in_bundles(features, 110, 1e-5),
    "bundles in bundles": lambda features: in_bundles(in_bundles(features, 110, 1e-3), 55, 1e-6),
    "bundles and one beyond float32's squares": lambda features: with_first(
        in_bundles(features, 110, 1e-5), 1e25
    ),
    "half of them tiny": lambda features: np.where(
        np.arange(len(features))[:, None] % 2, features, 1e-6 * features
    ),
}


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_lists_are_exact_on_hostile_features(product_dtype, name, grouped):
    features = HOSTILE[name](of_clusters(230)).astype(np.float32)
    groups = np.random.default_rng(0).integers(0, 3, len(features)) if grouped else None
    expected = squared_distances(features)
    own = np.arange(len(features)) if groups is None else groups
    expected[own[:, None] == own] = np.inf
    indices, distances = search_others(features, 9, groups)
    found = np.take_along_axis(expected, indices, axis=1)
    order = np.argsort(expected, axis=1, kind="stable")[:, :9]
    gaps = np.take_along_axis(expected, order, axis=1)
    # Nearer by more than the rounding of float64 is in front; what is equal goes by index.
    assert np.allclose(found, gaps, rtol=1e-13, atol=0)
    with np.errstate(over="ignore"):
        assert np.allclose(distances, gaps.astype(np.float32), rtol=1e-6, atol=0)
    equal = np.diff(gaps, axis=1) == 0
    assert (np.diff(indices, axis=1)[equal] > 0).all()
    if "tiny" not in name and "beyond" not in name:
        assert np.array_equal(indices, order)


def test_a_common_offset_costs_no_precision():
    features = of_clusters(64).astype(np.float32)
    plain, moved = (products.prepare(part, torch.bfloat16) for part in (features, features + np.float32(8)))
    assert np.allclose(moved.lengths, plain.lengths, rtol=1e-3)
    assert moved.share == pytest.approx(plain.share, rel=0.05)


def test_scores_lie_within_their_bounds(product_dtype):
    features = HOSTILE["heavy tails"](of_clusters(96)).astype(np.float32)
    ready = products.prepare(features, product_dtype)
    images = np.arange(len(features))
    stored = (ready.block(images) @ ready.block(images).T).double().numpy()
    moved = features.astype(np.float64) * ready.scale - ready.middle.double().numpy()
    lengths = ready.lengths[: len(images)].astype(np.float64)
    allowed = ready.relative * np.abs(stored) + ready.share * lengths[:, None] * lengths
    off = np.abs(stored - moved @ moved.T)
    assert (off <= allowed).all()
    # A bound, and not a multiple of one: rounding uses a good part of it.
    assert product_dtype != torch.bfloat16 or (off / allowed).max() > 0.1


def test_a_narrow_product_gives_way_where_it_tells_nothing_apart(monkeypatch):
    seconds = {torch.bfloat16: 1.0, torch.float32: 8.0, torch.float64: 16.0}
    monkeypatch.setattr(exact_search, "seconds_of_products", lambda: seconds)
    features = of_clusters(32).astype(np.float32)
    many = np.repeat(features, 4, axis=0)
    groups = np.arange(len(many))
    assert exact_search.cheapest_products(many, 5, groups).dtype == torch.bfloat16
    crowd = near_one(many, 1e-5).astype(np.float32)
    assert exact_search.cheapest_products(crowd, 5, groups).dtype == torch.float64
    far = with_first(many, 1e25).astype(np.float32)
    assert exact_search.cheapest_products(far, 5, groups).dtype == torch.float64


def test_search_among_other_groups(identity_features, product_dtype):
    features, _ = identity_features(210, 16)
    groups = np.random.default_rng(0).integers(0, 3, 210)
    groups[groups == 2] = np.where(np.arange((groups == 2).sum()) < 4, 2, 1)
    expected = squared_distances(features)
    expected[groups[:, None] == groups] = np.inf
    indices, distances = search_others(features, 140, groups)
    order = np.argsort(expected, axis=1, kind="stable")[:, :140]
    gaps = np.take_along_axis(expected, order, axis=1)
    assert np.isinf(gaps).any()
    assert np.array_equal(indices < 0, np.isinf(gaps))
    assert np.allclose(distances, gaps, atol=1e-5)
    # Almost equal distances may change places.
    found = np.where(indices < 0, np.inf, np.take_along_axis(expected, indices, axis=1))
    assert np.allclose(found, gaps, atol=1e-5)
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in indices)


@pytest.mark.parametrize("k", [3, 19, 140])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_search_of_other_devices_finds_the_same(identity_features, monkeypatch, k, grouped):
    monkeypatch.setattr(exact_search, "GPU_BLOCK", 50)
    features, _ = identity_features(150, 16)
    groups = np.random.default_rng(0).integers(0, 4, 150) if grouped else None
    indices, distances = search_others(features, k, groups)
    on_device = exact_search.search_on_gpu(
        torch.from_numpy(features), k, None if groups is None else torch.from_numpy(groups)
    )
    assert np.array_equal(on_device[0], indices)
    assert np.allclose(on_device[1], distances, atol=1e-6)


def test_farthest_distances(identity_features):
    features, _ = identity_features(90, 16)
    features[7] = features[3]
    expected = squared_distances(features).max(axis=1)
    assert np.allclose(farthest_squared_distances(features), expected, atol=1e-5)


@pytest.mark.parametrize("k", [0, 11])
def test_impossible_list_width_is_refused(k):
    with pytest.raises(ValueError, match=f"cannot list {k} neighbours among 10 images"):
        nearest_neighbours(np.eye(10), k)


def test_unknown_search_is_refused():
    with pytest.raises(ValueError, match=r"PSEUDO_LABELS.SEARCH.*'lsh'.*'exact', 'hnsw', 'tree'"):
        nearest_neighbours(np.eye(10), 3, search="lsh")


@pytest.mark.parametrize("search", ["hnsw", "tree"])
def test_approximate_lists_are_well_formed(identity_features, monkeypatch, search):
    monkeypatch.setattr(tree_search, "LEAF_IMAGES", 40)
    features, _ = identity_features(700, 24)
    features[5:9] = features[4]
    exact = nearest_neighbours(features, 10)
    lists = nearest_neighbours(features, 10, search=search)
    assert np.array_equal(lists.indices[:, 0], np.arange(700))
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in lists.indices)
    assert (np.diff(lists.distances, axis=1) >= 0).all()
    found = (exact.indices[:, 1:, None] == lists.indices[:, None, 1:]).any(axis=2).mean()
    # The sample holds all 700 images.
    assert lists.recall == pytest.approx(found, abs=0.01)
    assert lists.recall > 0.6


def test_a_tree_that_compares_all_pairs_finds_the_exact_lists(identity_features, product_dtype, monkeypatch):
    monkeypatch.setattr(tree_search, "LEAF_IMAGES", 60)
    monkeypatch.setattr(tree_search, "COMPARED", 1.0)
    features, _ = identity_features(500, 24)
    lists = nearest_neighbours(features, 10, search="tree")
    exact = nearest_neighbours(features, 10)
    assert np.array_equal(lists.distances, exact.distances)
    assert lists.recall == 1.0


def test_fewer_pairs_find_fewer_neighbours(identity_features, monkeypatch):
    monkeypatch.setattr(tree_search, "LEAF_IMAGES", 30)
    features, _ = identity_features(900, 24)
    recalls = []
    for share in (0.0, 0.12, 1.0):
        monkeypatch.setattr(tree_search, "COMPARED", share)
        recalls.append(nearest_neighbours(features, 10, search="tree").recall)
    assert recalls == sorted(set(recalls))


def test_a_set_smaller_than_a_leaf_is_searched_whole(identity_features):
    features, _ = identity_features(3, 8)
    lists = nearest_neighbours(features, 3, search="tree")
    assert np.array_equal(lists.indices, nearest_neighbours(features, 3).indices)
