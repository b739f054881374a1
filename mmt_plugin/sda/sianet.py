"""SPGAN's SiaNet: what it means for two images to show the same person, learnt along. Shapes: B batch, D
size.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .generator import initialise

LAYERS = 4


class SimilarityNetwork(nn.Module):
    """Four convolutions with pooling and one linear layer (Deng et al., CVPR 2018, Section 4.2).

    The average over positions before the linear layer is ours: any image size.
    """

    def __init__(self, width: int = 64, size: int = 128):
        """
        Args:
            width: channels after the first layer, doubled by each further one.
            size: D.
        """
        super().__init__()
        channels = [3, *(width * 2**i for i in range(LAYERS))]
        self.layers = nn.Sequential(
            *(
                layer
                for inputs, outputs in pairwise(channels)
                for layer in (
                    nn.Conv2d(inputs, outputs, 3, padding=1),
                    nn.InstanceNorm2d(outputs),
                    nn.LeakyReLU(0.2, inplace=True),
                    nn.MaxPool2d(2),
                )
            )
        )
        self.embed = nn.Linear(channels[-1], size)
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images B x 3 x H x W, of sides from 16 pixels -> L2-normalised embeddings B x D."""
        return F.normalize(self.embed(self.layers(images).mean(dim=(2, 3))), dim=1)
