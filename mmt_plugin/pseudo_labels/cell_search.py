"""Approximate k-nearest neighbours by cells around k-means centres, for sets too large to compare all pairs.

Shapes: N images, D feature size, k list width, B blocks.

An inverted file, searched the way the exact search works: images are put in the order of their cells, and
pairs of blocks are multiplied once for the lists of both, but only those whose centres lie nearest to each
other. Near pairs come first, so that lists are almost final when the many far ones are tested.
"""

import itertools

import faiss
import numpy as np

from .exact_search import consecutive_blocks, decide
from .shortlists import shortlist

# Images a cell, on average. Training images a cell, and iterations, of the centres.
CELL_IMAGES, TRAINING_IMAGES, ITERATIONS = 1000, 64, 8

# Share of all pairs of images that is compared. Recall follows it, and so does time.
COMPARED = 0.4

# Spare candidates that make up for the rounding of products.
SPARE = 16


def search(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find approximately every image's k nearest other images.

    Args:
        features: N x D float32, finite.
        k: list width, at least 1; the image itself is never listed.

    Returns:
        indices: N x k int32, nearest first; -1 where the search found too few images.
        distances: N x k float32, squared Euclidean; infinite where it found too few.
    """
    num_images = len(features)
    cells = _cells(features)
    order = np.argsort(cells, kind="stable")
    arranged, images = features[order], np.arange(num_images)
    bounds = np.searchsorted(cells[order], np.arange(cells.max() + 2))
    blocks = [
        block for start, stop in itertools.pairwise(bounds) for block in consecutive_blocks(start, stop)
    ]
    pairs = _nearest_pairs(arranged, blocks)
    found, gaps = decide(arranged, images, shortlist(arranged, k + SPARE, images, pairs, bounded=False), k)
    indices, distances = np.empty_like(found), np.empty_like(gaps)
    indices[order] = np.where(found < 0, -1, order[found])
    distances[order] = gaps
    return indices, distances


def _cells(features: np.ndarray) -> np.ndarray:
    """The number of every image's nearest k-means centre: N int64."""
    num_cells = max(1, len(features) // CELL_IMAGES)
    clustering = faiss.Kmeans(
        features.shape[1],
        num_cells,
        niter=ITERATIONS,
        min_points_per_centroid=1,
        max_points_per_centroid=TRAINING_IMAGES,
        seed=0,
    )
    clustering.train(features)
    return clustering.assign(features)[1]


def _nearest_pairs(features: np.ndarray, blocks: list[slice]) -> list[tuple[slice, slice]]:
    """Pairs of blocks by distance of their centres, until `COMPARED` of all pairs of images are in them."""
    centres = np.stack([features[block].mean(axis=0) for block in blocks])
    norms = np.einsum("bd,bd->b", centres, centres)
    first, second = np.triu_indices(len(blocks))
    gaps = (norms[:, None] + norms - 2 * centres @ centres.T)[first, second]
    # A block and itself come before all others, whatever the rounding.
    gaps[first == second] = -np.inf
    sizes = np.array([block.stop - block.start for block in blocks], dtype=np.int64)
    work = np.where(first == second, sizes[first] * (sizes[first] - 1) / 2, sizes[first] * sizes[second])
    order = np.argsort(gaps, kind="stable")
    compared = order[np.cumsum(work[order]) - work[order] < COMPARED * work.sum()]
    return [(blocks[at], blocks[other]) for at, other in zip(first[compared], second[compared], strict=True)]
