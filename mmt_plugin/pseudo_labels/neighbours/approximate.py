"""Approximate k-nearest neighbours, for sets that are too large to compare all pairs.

Shapes: N images, D feature size, k list width.

Both searches lose neighbours, and labels change with them. So the share of true neighbours that is found is
measured on a sample of the images, against an exhaustive search, and logged.
"""

import logging

import faiss
import numpy as np
from tqdm import tqdm

from . import tree as tree_search

logger = logging.getLogger("fastreid.mmt.pseudo_labels")

# HNSW: links an image, candidates while building and while searching.
HNSW_LINKS, HNSW_BUILD, HNSW_SEARCH = 32, 80, 160

# Images whose true neighbours are searched to measure recall; images per call, for the progress bar.
RECALL_SAMPLE = 1000
BLOCK = 16384


def search(features: np.ndarray, k: int, method: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Find approximately every image's k nearest other images.

    Args:
        features: N x D float32, finite.
        k: list width, at least 1; the image itself is never listed.
        method: one of `SEARCHES`.

    Returns:
        indices: N x k int32, nearest first; -1 where the search found too few images.
        distances: N x k float32, squared Euclidean; infinite where it found too few.
        recall: share of the k true neighbours that were found, on a sample.
    """
    indices, distances = SEARCHES[method](features, k)
    recall = _recall(features, indices)
    logger.info("Approximate neighbours (%s): recall@%d %.3f on a sample.", method, k, recall)
    return indices, distances, recall


def _search_graph(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Walk faiss's navigable small-world graph over the images."""
    graph = _build_graph(features)
    indices = np.empty((len(features), k), dtype=np.int32)
    distances = np.empty((len(features), k), dtype=np.float32)
    with tqdm(total=len(features), desc="hnsw search", unit="image", disable=None) as bar:
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            # One more than wanted, for the image itself.
            found_distances, found = graph.search(features[rows], k + 1)
            own = np.arange(start, start + len(found))
            indices[rows], distances[rows] = _without_self(own, found, found_distances)
            bar.update(len(found))
    return indices, distances


def _build_graph(features: np.ndarray) -> faiss.Index:
    graph = faiss.IndexHNSWFlat(features.shape[1], HNSW_LINKS)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = HNSW_BUILD, HNSW_SEARCH
    with tqdm(total=len(features), desc="hnsw graph", unit="image", disable=None) as bar:
        for start in range(0, len(features), BLOCK):
            block = features[start : start + BLOCK]
            graph.add(block)
            bar.update(len(block))
    return graph


SEARCHES = {"hnsw": _search_graph, "tree": tree_search.search}


def _without_self(own: np.ndarray, found: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each image from its own list; one that did not find itself loses the last entry."""
    is_self = found == own[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    shape = len(found), found.shape[1] - 1
    others, gaps = found[~is_self].reshape(shape), distances[~is_self].reshape(shape)
    return others.astype(np.int32), np.where(others < 0, np.inf, np.maximum(gaps, 0))


def _recall(features: np.ndarray, indices: np.ndarray) -> float:
    """Share of the true neighbours that are listed, over a sample of the images."""
    sample = np.random.default_rng(0).permutation(len(features))[:RECALL_SAMPLE]
    true_distances, true = faiss.knn(features[sample], features, indices.shape[1] + 1)
    true, _ = _without_self(sample, true, true_distances)
    listed = (true[:, :, None] == indices[sample][:, None, :]).any(axis=2)
    return float(listed.mean())
