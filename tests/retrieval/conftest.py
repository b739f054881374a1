"""Features to rank."""

import numpy as np
import pytest


def _identity_features(num_images, size, per_identity=6, noise=0.5):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((num_images // per_identity + 1, size))
    features = centres[rng.permutation(num_images) // per_identity]
    features = features + noise * rng.standard_normal((num_images, size))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def identity_features():
    """Function of (num_images, size): L2-normalised features of shuffled identities."""
    return _identity_features
