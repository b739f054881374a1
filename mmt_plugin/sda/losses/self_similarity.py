"""SPGAN's similarity-preserving losses (Deng et al., CVPR 2018, Eq. 4). Shapes: B batch, D embedding size.

An image and its translation are a positive pair, whatever their style; a translation and an image of the
domain it was translated into are a negative pair, since the domains share no people. Shares of positive and
negative pairs are those of OpenUnReID.
"""

import torch
from torch import Tensor

# Lower bound of a squared distance, so that the square root has a finite gradient.
MIN_SQUARED_DISTANCE = 1e-12


def contrastive_loss(a: Tensor, b: Tensor, same: bool, margin: float) -> Tensor:
    """Mean of d^2 over positive pairs, of max(0, m - d)^2 over negative ones, d the Euclidean distance.

    Args:
        a, b: B x D L2-normalised embeddings, paired by row.
        same: whether these are positive pairs.
        margin: m, in (0, 2].

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape or a.dim() != 2:
        raise ValueError(f"expected embeddings B x D, got {tuple(a.shape)} and {tuple(b.shape)}")
    squared = (a - b).square().sum(dim=1)
    if same:
        return squared.mean()
    return torch.relu(margin - squared.clamp(min=MIN_SQUARED_DISTANCE).sqrt()).square().mean()


def generator_similarity_loss(
    source: Tensor, target: Tensor, fake_source: Tensor, fake_target: Tensor, margin: float
) -> Tensor:
    """What the generators minimise: self-similarity, and half as much domain-dissimilarity.

    Args:
        source, target: embeddings of real images, B x D.
        fake_source: of the target images in the source's style.
        fake_target: of the source images in the target's style.
        margin: m.
    """
    positive = contrastive_loss(source, fake_target, True, margin) + contrastive_loss(
        target, fake_source, True, margin
    )
    negative = contrastive_loss(fake_target, target, False, margin) + contrastive_loss(
        fake_source, source, False, margin
    )
    return (positive + 0.5 * negative) / 4


def network_similarity_loss(
    source: Tensor, target: Tensor, fake_source: Tensor, fake_target: Tensor, margin: float
) -> Tensor:
    """What the similarity network itself learns: the same positive pairs, and real images of the two
    domains as negative ones. Arguments as of `generator_similarity_loss`.
    """
    positive = contrastive_loss(source, fake_target, True, margin) + contrastive_loss(
        target, fake_source, True, margin
    )
    return (positive + 2 * contrastive_loss(source, target, False, margin)) / 3
