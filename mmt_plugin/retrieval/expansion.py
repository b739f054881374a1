"""Average query expansion, without a matrix over all pairs of images. Shapes: N images, D feature size.

Source: Chum et al., "Total Recall" (ICCV 2007), with the weights of Radenovic et al. (TPAMI 2019), as
fastreid 1.4.0 has it.
"""

import numpy as np

# Images whose similarities to all others are made at once.
BLOCK = 256


def expanded_features(features: np.ndarray, size: int, rounds: int = 1, power: float = 3.0) -> np.ndarray:
    """Every feature replaced by the mean of its most similar ones, itself among them, each times its cosine
    similarity to a power.

    Args:
        features: N x D float32, of queries and gallery together.
        size: images of a mean; at most all there are.
        rounds: how often this is done.
        power: of the similarity; a similarity below 0 weighs nothing.

    Returns:
        N x D float32, not normalised.

    Raises:
        ValueError: if size is less than 1.
    """
    if size < 1:
        raise ValueError(f"size (TEST.AQE.QE_K) is {size}; it must be at least 1")
    size = min(size, len(features))
    for _ in range(rounds):
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        directions = features / np.maximum(lengths, np.finfo(np.float32).tiny)
        features = np.concatenate(
            [
                _means(features, directions @ directions[first : first + BLOCK].T, size, power)
                for first in range(0, len(features), BLOCK)
            ]
        )
    return features


def _means(features: np.ndarray, similarities: np.ndarray, size: int, power: float) -> np.ndarray:
    """Weighted means for the B images that the columns of N x B similarities are of."""
    similarities = similarities.T
    nearest = np.argpartition(-similarities, size - 1, axis=1)[:, :size]
    weights = np.maximum(np.take_along_axis(similarities, nearest, axis=1), 0) ** np.float32(power)
    return np.einsum("bk,bkd->bd", weights, features[nearest]) / np.float32(size)
