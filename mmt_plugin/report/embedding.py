"""Maps of features in the plane. Shapes: S images, D feature size."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

PERPLEXITY, COMPONENTS = 30, 50
# Fewer points have no neighbourhoods to keep: their principal components do.
MIN_IMAGES = 16


def plane(features: np.ndarray) -> np.ndarray:
    """Lay images out so that near ones stay near: t-SNE of the principal components, the same in every call.

    Args:
        features: S x D with S >= 3.

    Returns:
        S x 2.
    """
    features = np.asarray(features, dtype=np.float32)
    components = PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features)
    if len(features) < MIN_IMAGES or np.ptp(components) == 0:
        return components[:, :2]
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components)
