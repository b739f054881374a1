import numpy as np
import pytest

from mmt_plugin.pseudo_labels import agreement, cluster_identities


def pair_counting_ari(labels, truth):
    """Adjusted Rand index by the definition, over all pairs."""
    i, j = np.triu_indices(len(labels), 1)
    same_label, same_truth = labels[i] == labels[j], truth[i] == truth[j]
    both, expected = (same_label & same_truth).sum(), same_label.sum() * same_truth.sum() / len(i)
    return (both - expected) / ((same_label.sum() + same_truth.sum()) / 2 - expected)


def test_outliers_count_as_singletons():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 8, 200)
    labels = np.where(rng.random(200) < 0.7, truth, rng.integers(0, 8, 200))
    labels[rng.random(200) < 0.2] = -1
    singletons = labels.copy()
    singletons[labels < 0] = 100 + np.arange((labels < 0).sum())
    scores = agreement(labels, truth)
    assert set(scores) == {"ARI", "NMI"}
    assert scores["ARI"] == pytest.approx(pair_counting_ari(singletons, truth))
    assert scores == agreement(singletons, truth)
    assert scores["ARI"] < agreement(labels[labels >= 0], truth[labels >= 0])["ARI"]


def test_equal_up_to_names():
    truth = np.repeat(np.arange(5), 4)
    assert agreement((truth + 2) % 5, truth) == {"ARI": 1.0, "NMI": pytest.approx(1.0)}


def test_nothing_clustered_is_chance_level():
    assert agreement(np.full(20, -1), np.repeat(np.arange(5), 4))["ARI"] == 0


@pytest.mark.parametrize(("labels", "truth"), [([0, 1], [0]), ([], []), ([[0]], [[0]])])
def test_shapes_that_do_not_fit(labels, truth):
    with pytest.raises(ValueError, match="expected labels and truth"):
        agreement(np.array(labels), np.array(truth))


def test_identities_of_clusters_are_the_commonest():
    labels, truth = np.array([0, 0, 0, 1, 1, 2, -1, -1]), np.array([3, 4, 4, 7, 2, 5, 9, 9])
    assert cluster_identities(labels, truth).tolist() == [4, 2, 5]
