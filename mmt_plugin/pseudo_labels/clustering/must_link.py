"""Images that are known to show the same identity share a label. Shapes: N images."""

import numpy as np


def link_tracklets(labels: np.ndarray, tracklets: np.ndarray) -> np.ndarray:
    """Give all images of a tracklet the cluster that most of them are in; the smaller number on a tie.

    Images of no cluster have no vote, but follow it: what a tracker held on to belongs with what was
    recognised of it. A tracklet without any clustered image stays without.

    A vote, and not the union of a tracklet's clusters, because trackers do switch identities: under the union
    one such tracklet joins two clusters of any size, and a few of them join most; under the vote it moves
    only its own images.

    Args:
        labels: N int64, dense from 0, -1 for an image of no cluster.
        tracklets: N integers from 0, -1 for an image of no tracklet.

    Returns:
        N int64 labels, dense from 0; clusters that lost all their images are gone.

    Raises:
        ValueError: if the lengths differ.
    """
    labels, tracklets = np.asarray(labels), np.asarray(tracklets)
    if labels.shape != tracklets.shape:
        raise ValueError(f"{labels.shape} labels for the tracklets of {tracklets.shape} images")
    labels, voting = labels.copy(), (labels >= 0) & (tracklets >= 0)
    ballots, votes = np.unique(
        np.stack([tracklets[voting], labels[voting]], axis=1), axis=0, return_counts=True
    )
    # By tracklet, then most votes first, then the smaller cluster.
    order = np.lexsort((ballots[:, 1], -votes, ballots[:, 0]))
    voters, first = np.unique(ballots[order, 0], return_index=True)
    winner = np.full(tracklets.max(initial=-1) + 1, -1, dtype=np.int64)
    winner[voters] = ballots[order[first], 1]
    linked = tracklets >= 0
    labels[linked] = winner[tracklets[linked]]
    clustered = labels >= 0
    labels[clustered] = np.unique(labels[clustered], return_inverse=True)[1]
    return labels
