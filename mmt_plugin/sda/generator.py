"""The generator of CycleGAN: a ResNet between two strided and two transposed convolutions.

Shapes: B batch, H x W image size, W0 width (channels after the first layer).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Two strided layers: what the sides of an image are padded to a multiple of.
STRIDE = 4


class ResidualBlock(nn.Module):
    """x + conv-IN-ReLU-conv-IN(x), with reflection padding."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, channels, 3), nn.ReLU(inplace=True), *_convolution(channels, channels, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ResNetGenerator(nn.Module):
    """Images of one domain -> images in the style of another (Zhu et al., ICCV 2017; report, Section 3.1).

    As in the published SDA code the output passes a sigmoid: colours in [0, 1], which the caller normalises.
    Instance normalisation without parameters or running statistics; dropout-free: a function of the image
    alone.
    """

    def __init__(self, width: int = 64, blocks: int = 9, residual: bool = False):
        """
        Args:
            width: W0; the residual blocks have 4 W0 channels.
            blocks: number of residual blocks.
            residual: paint over the image with its mean and contrast taken out, so that a new network keeps
                all forms and has only the style to learn; the published one paints on nothing.
        """
        super().__init__()
        self.residual = residual
        self.encoder = nn.Sequential(
            *_convolution(3, width, 7),
            nn.ReLU(inplace=True),
            *_halved(width, 2 * width),
            *_halved(2 * width, 4 * width),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(blocks)))
        self.decoder = nn.Sequential(
            *_doubled(4 * width, 2 * width),
            *_doubled(2 * width, width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, 3, 7),
        )
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Translate normalised images B x 3 x H x W, of any size from 4 pixels, to the same in [0, 1]."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
        colours = self.decoder(self.blocks(self.encoder(padded)))[..., :height, :width]
        if self.residual:
            colours = colours + F.instance_norm(images)
        return torch.sigmoid(colours)


def initialise(layer: nn.Module) -> None:
    """Weights of convolutions and linear layers from N(0, 0.02), biases 0, as published."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _convolution(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, ...]:
    return nn.ReflectionPad2d(kernel // 2), nn.Conv2d(inputs, outputs, kernel), nn.InstanceNorm2d(outputs)


def _halved(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
    return convolution, nn.InstanceNorm2d(outputs), nn.ReLU(inplace=True)


def _doubled(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return convolution, nn.InstanceNorm2d(outputs), nn.ReLU(inplace=True)
