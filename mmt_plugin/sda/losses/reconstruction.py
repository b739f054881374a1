"""The L1 loss of CycleGAN's cycle and identity terms. Shapes: B batch."""

import torch.nn.functional as F
from torch import Tensor


def reconstruction_loss(images: Tensor, originals: Tensor) -> Tensor:
    """Mean absolute difference of normalised images, both B x 3 x H x W.

    For the cycle, images that went to the other domain and back; for the identity, images that were
    translated into the domain they are of.

    Raises:
        ValueError: the shapes differ, which would be broadcast.
    """
    if images.shape != originals.shape:
        raise ValueError(
            f"expected images of one shape, got {tuple(images.shape)} and {tuple(originals.shape)}"
        )
    return F.l1_loss(images, originals)
