"""Synthetic features in clusters, as re-identification networks make them.

Shapes: N images, D feature size.
"""

import numpy as np

# Images an identity, on average, and cameras: those of Market-1501.
IMAGES_PER_IDENTITY, CAMERAS = 17, 6

# Directions in which identities differ, the length of a camera's offset, and of the noise; identities have
# length 1.
IDENTITY_DIRECTIONS, CAMERA_OFFSET, NOISE = 64, 0.35, 1.3

BLOCK = 65536


def clustered_features(
    num_images: int, size: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L2-normalised features of identities of uneven size under several cameras, in random order.

    The noise has a decaying spectrum (the d-th direction's variance falls as 1 / d), as features of trained
    networks have.

    Args:
        num_images: N.
        size: D.
        seed: of everything.

    Returns:
        features: N x D float32.
        identities: N int64.
        cameras: N int64.
    """
    rng = np.random.default_rng(seed)
    identities = _uneven_identities(num_images, rng)
    cameras = rng.integers(0, CAMERAS, num_images)
    directions = min(IDENTITY_DIRECTIONS, size)
    basis = np.linalg.qr(rng.standard_normal((size, directions)))[0].T.astype(np.float32)
    centres = _of_length(rng.standard_normal((identities.max() + 1, directions), dtype=np.float32), 1.0)
    offsets = _of_length(rng.standard_normal((CAMERAS, size), dtype=np.float32), CAMERA_OFFSET)
    spectrum = rng.permutation(1 / np.sqrt(np.arange(1, size + 1))).astype(np.float32)
    spectrum *= NOISE / np.linalg.norm(spectrum)
    features = np.empty((num_images, size), dtype=np.float32)
    for start in range(0, num_images, BLOCK):
        rows = slice(start, start + BLOCK)
        block = rng.standard_normal((len(identities[rows]), size), dtype=np.float32)
        block *= spectrum
        block += centres[identities[rows]] @ basis
        block += offsets[cameras[rows]]
        features[rows] = _of_length(block, 1.0)
    return features, identities, cameras


def _uneven_identities(num_images: int, rng: np.random.Generator) -> np.ndarray:
    """An identity for every image; sizes are spread as widely as those of real sets."""
    sizes = 2 + rng.negative_binomial(2, 2 / IMAGES_PER_IDENTITY, size=num_images // 2 + 1)
    identities = np.repeat(np.arange(len(sizes)), sizes)[:num_images]
    return rng.permutation(identities)


def _of_length(rows: np.ndarray, length: float) -> np.ndarray:
    return rows * (length / np.linalg.norm(rows, axis=1, keepdims=True))
