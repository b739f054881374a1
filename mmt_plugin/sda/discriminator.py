"""The PatchGAN discriminator. Shapes: B batch, H x W image size, h x w patches."""

from itertools import pairwise

from torch import Tensor, nn

from .generator import initialise

# Channels grow up to this multiple of the width.
MAX_GROWTH = 8


class PatchDiscriminator(nn.Module):
    """Judges every patch of an image on its own (Isola et al., CVPR 2017), by a linear output for least
    squares.

    ``layers`` convolutions of stride 2 and two of stride 1, all 4 x 4; with 3, a patch is 70 x 70 pixels.
    Instance normalisation everywhere but in the first and the last.
    """

    def __init__(self, width: int = 64, layers: int = 3):
        """
        Args:
            width: channels after the first layer.
            layers: strided layers, at least 1.
        """
        super().__init__()
        channels = [width * min(2**i, MAX_GROWTH) for i in range(layers + 1)]
        steps: list[nn.Module] = [
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for i, (inputs, outputs) in enumerate(pairwise(channels), start=1):
            stride = 2 if i < layers else 1
            steps += [
                nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1),
                nn.InstanceNorm2d(outputs),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.layers = nn.Sequential(*steps, nn.Conv2d(channels[-1], 1, 4, padding=1))
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images B x 3 x H x W -> verdicts B x 1 x h x w, near 1 for real patches."""
        return self.layers(images)
