"""Approximate k-nearest neighbours by a faiss index, for sets that are too large to compare all pairs.

Shapes: N images, D feature size, k list width.

Both indexes lose neighbours, and labels change with them. So the share of true neighbours that is found is
measured on a sample of the images, against an exhaustive search, and logged.
"""

import logging

import faiss
import numpy as np
from tqdm import tqdm

logger = logging.getLogger("fastreid.mmt.pseudo_labels")

# HNSW: links an image, candidates while building and while searching. IVF: share of the cells that are
# visited.
HNSW_LINKS, HNSW_BUILD, HNSW_SEARCH = 32, 80, 160
IVF_PROBED = 1 / 16

# Images whose true neighbours are searched to measure recall; images per call, for the progress bar.
RECALL_SAMPLE = 1000
BLOCK = 16384


def search(features: np.ndarray, k: int, index: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Find approximately every image's k nearest other images.

    Args:
        features: N x D float32, finite.
        k: list width, at least 1; the image itself is never listed.
        index: one of `INDEXES`.

    Returns:
        indices: N x k int32, nearest first; -1 where the search found too few images.
        distances: N x k float32, squared Euclidean; infinite where it found too few.
        recall: share of the k true neighbours that were found, on a sample.
    """
    built = INDEXES[index](features)
    indices = np.empty((len(features), k), dtype=np.int32)
    distances = np.empty((len(features), k), dtype=np.float32)
    with tqdm(total=len(features), desc=f"{index} search", unit="image", disable=None) as bar:
        for start in range(0, len(features), BLOCK):
            rows = slice(start, start + BLOCK)
            # One more than wanted, for the image itself.
            found_distances, found = built.search(features[rows], k + 1)
            own = np.arange(start, start + len(found))
            indices[rows], distances[rows] = _without_self(own, found, found_distances)
            bar.update(len(found))
    recall = _recall(features, indices)
    logger.info("Approximate neighbours (%s): recall@%d %.3f on a sample.", index, k, recall)
    return indices, distances, recall


def _build_hnsw(features: np.ndarray) -> faiss.Index:
    """A navigable small-world graph over the images."""
    index = faiss.IndexHNSWFlat(features.shape[1], HNSW_LINKS)
    index.hnsw.efConstruction, index.hnsw.efSearch = HNSW_BUILD, HNSW_SEARCH
    with tqdm(total=len(features), desc="hnsw index", unit="image", disable=None) as bar:
        for start in range(0, len(features), BLOCK):
            block = features[start : start + BLOCK]
            index.add(block)
            bar.update(len(block))
    return index


def _build_ivf(features: np.ndarray) -> faiss.Index:
    """Cells around k-means centres; a search visits the nearest of them."""
    cells = max(1, min(int(4 * len(features) ** 0.5), len(features) // 39))
    quantizer = faiss.IndexFlatL2(features.shape[1])
    index = faiss.IndexIVFFlat(quantizer, features.shape[1], cells)
    # faiss warns on small sets, which an approximate search is not for, but serves.
    index.cp.min_points_per_centroid = 1
    index.train(features)
    index.add(features)
    index.nprobe = max(1, round(cells * IVF_PROBED))
    return index


INDEXES = {"hnsw": _build_hnsw, "ivf": _build_ivf}


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
