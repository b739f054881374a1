"""Tracklets share a label, in DBSCAN's and k-means' clusters."""

from collections import Counter

import numpy as np
import pytest

from mmt_plugin.pseudo_labels import cluster, link_tracklets
from mmt_plugin.pseudo_labels.labels import with_singletons


def obvious(labels, tracklets):
    """The rule, tracklet by tracklet; clusters keep their numbers."""
    linked = list(labels)
    for tracklet in set(tracklets) - {-1}:
        members = [i for i, t in enumerate(tracklets) if t == tracklet]
        votes = Counter(labels[i] for i in members if labels[i] >= 0)
        winner = min(votes, key=lambda c: (-votes[c], c)) if votes else -1
        for i in members:
            linked[i] = winner
    return linked


@pytest.mark.parametrize("seed", range(5))
def test_the_majority_of_each_tracklet_wins(seed):
    rng = np.random.default_rng(seed)
    labels, tracklets = rng.integers(-1, 6, 80), rng.integers(-1, 15, 80)
    linked = link_tracklets(labels, tracklets)
    expected = np.array(obvious(labels.tolist(), tracklets.tolist()))
    # The same up to the numbers of clusters that vanished.
    dense = np.where(expected >= 0, np.searchsorted(np.unique(expected[expected >= 0]), expected), -1)
    assert linked.tolist() == dense.tolist()


def test_by_hand():
    #           a tie   outlier follows  no vote at all  a switched identity  alone
    labels = [2, 1, 0, 0, -1, -1, -1, 3, 3, 3, 4, -1]
    tracks = [0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3, -1]
    assert link_tracklets(labels, tracks).tolist() == [1, 1, 0, 0, 0, -1, -1, 2, 2, 2, 2, -1]


def test_nothing_to_link_changes_nothing():
    labels = np.array([0, 1, -1, 1])
    assert link_tracklets(labels, np.full(4, -1)).tolist() == labels.tolist()
    assert link_tracklets(np.full(3, -1), np.zeros(3, int)).tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match="tracklets of"):
        link_tracklets(labels, np.zeros(3, int))


def test_singletons_keep_a_tracklet_together():
    labels, tracklets = np.array([0, -1, -1, -1, 0, -1, -1]), np.array([0, 3, -1, 3, 0, -1, 1])
    assert with_singletons(labels).tolist() == [0, 1, 2, 3, 0, 4, 5]
    assert with_singletons(labels, tracklets).tolist() == [0, 2, 3, 2, 0, 4, 1]


@pytest.mark.parametrize("method", ["dbscan", "kmeans"])
@pytest.mark.parametrize("outliers", ["drop", "singletons"])
def test_both_methods_link(identity_features, settings, method, outliers):
    features, truth = identity_features(180, 16, noise=1.2)
    settings.METHOD, settings.OUTLIERS, settings.KMEANS.NUM_CLUSTERS = method, outliers, 20
    tracklets = truth * 4 + np.arange(180) % 4  # four tracklets an identity
    loose = cluster(features, settings)
    linked = cluster(features, settings, tracklets=tracklets)

    def torn(result):
        return sum(len(set(result.labels[tracklets == t])) > 1 for t in np.unique(tracklets))

    assert torn(loose) > 0
    assert torn(linked) == 0
    assert linked.counts.sum() == (linked.labels >= 0).sum()
    if outliers == "singletons":
        assert linked.num_outliers == 0
