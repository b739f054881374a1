"""Features to cluster, and the published Jaccard distance as the obvious dense loop."""

from types import SimpleNamespace

import numpy as np
import pytest
from log_messages import messages_of


def _identity_features(num_images, size, *, noise=0.35, per_identity=12, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(num_images) // per_identity
    centres = rng.standard_normal((num_images // per_identity + 1, size))
    features = centres[truth] + noise * rng.standard_normal((num_images, size))
    order = rng.permutation(num_images)
    features = features[order] / np.linalg.norm(features[order], axis=1, keepdims=True)
    return features.astype(np.float32), truth[order]


@pytest.fixture(scope="session")
def identity_features():
    """Function of (num_images, size): L2-normalised features of shuffled identities, and their truth."""
    return _identity_features


def _squared_distances(features):
    features = np.asarray(features, dtype=np.float64)
    return ((features[:, None, :] - features[None, :, :]) ** 2).sum(axis=2)


def _dense_jaccard(features, k1, k2, *, k1_includes_self=True, scaled=False, lists=None):
    """N x N distance by loops over sets, in float64; `lists` replaces the neighbour search."""
    squared = _squared_distances(features)
    n = len(squared)
    if lists is None:
        ranks = squared.copy()
        np.fill_diagonal(ranks, -1)
        lists = np.argsort(ranks, axis=1)[:, : k1 if k1_includes_self else k1 + 1]
    lists = [[int(j) for j in row] for row in lists]
    half = int(np.around(k1 / 2)) + 1

    def reciprocal(i, width):
        return {j for j in lists[i][:width] if i in lists[j][:width]}

    vectors = np.zeros((n, n))
    for i in range(n):
        members = reciprocal(i, len(lists[i]))
        expanded = set(members)
        for c in members:
            candidates = reciprocal(c, half)
            if len(candidates & members) > 2 / 3 * len(candidates):
                expanded |= candidates
        for j in expanded:
            vectors[i, j] = np.exp(-squared[i, j] / (squared[i].max() if scaled else 1.0))
        vectors[i] /= vectors[i].sum()
    if k2 > 1:
        vectors = np.stack([vectors[lists[i][:k2]].mean(axis=0) for i in range(n)])
    return _distances_of(vectors)


def _distances_of(vectors):
    """N x N Jaccard distances of weight vectors."""
    distance = np.empty(vectors.shape)
    for i in range(len(vectors)):
        overlap = np.minimum(vectors[i], vectors).sum(axis=1)
        distance[i] = np.maximum(1 - overlap / (2 - overlap), 0)
    return distance


@pytest.fixture(scope="session")
def dense_jaccard():
    """The reference function."""
    return _dense_jaccard


def _dense_camera_aware(features, cameras, k1_intra, k1_inter, k2_intra, k2_inter):
    """N x N camera-aware distance by loops over sets, in float64; ties must not decide."""
    squared = _squared_distances(features)
    n = len(squared)
    intra, inter = [], []
    for i in range(n):
        order = sorted((j for j in range(n) if j != i), key=lambda j: (squared[i, j], j))
        intra.append([i, *(j for j in order if cameras[j] == cameras[i])][: k1_intra + 1])
        inter.append([j for j in order if cameras[j] != cameras[i]][: k1_inter + 1])
    vectors = np.zeros((n, n))
    for i in range(n):
        members = {j for j in intra[i] if i in intra[j]} | {j for j in inter[i] if i in inter[j]}
        for j in members:
            vectors[i, j] = np.exp(-squared[i, j])
        vectors[i] /= vectors[i].sum()
    return _distances_of(
        np.stack([vectors[intra[i][:k2_intra] + inter[i][:k2_inter]].mean(axis=0) for i in range(n)])
    )


@pytest.fixture(scope="session")
def dense_camera_aware():
    """The reference function."""
    return _dense_camera_aware


def _to_dense(graph):
    dense = np.ones(graph.shape, dtype=np.float32)
    dense[np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr)), graph.indices] = graph.data
    np.fill_diagonal(dense, 0)
    return dense


@pytest.fixture(scope="session")
def to_dense():
    """Function of a graph: the N x N matrix it stands for."""
    return _to_dense


@pytest.fixture
def settings():
    """A PSEUDO_LABELS node with the published DBSCAN recipe."""
    return SimpleNamespace(
        METHOD="dbscan",
        K1=20,
        K2=6,
        K1_INCLUDES_SELF=True,
        JACCARD_WEIGHTS="softmax",
        SEARCH="exact",
        OUTLIERS="drop",
        CAMERA_AWARE=SimpleNamespace(ENABLED=False, K1_INTRA=5, K1_INTER=20, K2_INTRA=2, K2_INTER=4),
        RELIABILITY=SimpleNamespace(ENABLED=False, EPS_GAP=0.02),
        DBSCAN=SimpleNamespace(EPS=0.6, EPS_RULE="fixed", RHO=1.6e-3, MIN_SAMPLES=4),
        KMEANS=SimpleNamespace(NUM_CLUSTERS=10, NUM_ITERATIONS=100, SEED=1, NUM_RESTARTS=1),
    )


@pytest.fixture
def log_lines():
    """Messages of the room's logger."""
    with messages_of("fastreid.mmt.pseudo_labels") as lines:
        yield lines
