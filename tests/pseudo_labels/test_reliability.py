import numpy as np
import pytest

from mmt_plugin.pseudo_labels import reliable_labels


def obvious_reliable_labels(labels, tight, loose, threshold=None):
    """The criterion pair by pair: image sets, intersections and unions."""
    n = len(labels)

    def cluster_of(all_labels, i):
        return {j for j in range(n) if all_labels[j] == all_labels[i]} if all_labels[i] >= 0 else {i}

    def dissimilarity(other, i):
        one, two = cluster_of(labels, i), cluster_of(other, i)
        return 1 - len(one & two) / len(one | two)

    clusters = [[i for i in range(n) if labels[i] == c] for c in range(max(labels, default=-1) + 1)]
    compact = [min(dissimilarity(tight, i) for i in members) for members in clusters]
    independent = [min(dissimilarity(loose, i) for i in members) for members in clusters]
    if threshold is None:
        ranked = sorted(s for s, members in zip(independent, clusters, strict=True) if len(members) > 1)
        threshold = ranked[min(len(ranked) - 1, round(0.9 * len(ranked)))] if ranked else 1.0
    kept, result = 0, [-1] * n
    for c, members in enumerate(clusters):
        stay = [i for i in members if independent[c] <= threshold and dissimilarity(tight, i) <= compact[c]]
        if len(stay) > 1:
            for i in stay:
                result[i] = kept
            kept += 1
    return np.array(result), threshold


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [None, 0.4])
def test_equals_the_obvious_loop(seed, threshold):
    rng = np.random.default_rng(seed)
    labels = np.unique(rng.integers(-1, 9, 90), return_inverse=True)[1] - 1
    tight, loose = labels.copy(), labels // rng.integers(1, 3)
    loose[labels < 0] = -1
    moved = rng.permutation(90)[:25]
    tight[moved] = rng.integers(-1, 20, 25)
    moved = rng.permutation(90)[:10]
    loose[moved] = rng.integers(-1, 5, 10)
    expected, expected_threshold = obvious_reliable_labels(labels, tight, loose, threshold)
    found, used = reliable_labels(labels, tight, loose, threshold)
    assert np.array_equal(found, expected)
    assert used == pytest.approx(expected_threshold)
    assert found.dtype == np.int64


def test_stable_clusters_are_untouched():
    labels = np.array([0, 0, 1, 1, 1, -1])
    found, threshold = reliable_labels(labels, labels, labels)
    assert np.array_equal(found, labels)
    assert threshold == 0


def test_a_merged_cluster_dissolves_and_a_loose_member_leaves():
    labels = np.array([0, 0, 1, 1, 2, 2, 2])
    loose = np.array([0, 0, 0, 0, 1, 1, 1])
    tight = np.array([0, 0, 1, 1, 2, 2, -1])
    found, _ = reliable_labels(labels, tight, loose, threshold=0.1)
    assert found.tolist() == [-1, -1, -1, -1, 0, 0, -1]


@pytest.mark.parametrize("labels", [[], [-1, -1, -1]])
def test_no_clusters(labels):
    labels = np.array(labels, dtype=np.int64)
    found, threshold = reliable_labels(labels, labels, labels)
    assert np.array_equal(found, labels)
    assert threshold == 1.0
