"""What pixels a program is fed with. Shapes: B batch, H x W image size.

Every client has a convention of its own, and none of them asks the file: a network that is fed with other
pixels than it was exported for gives features without an error.
"""

import torch
from torch import Tensor

# Channel means and deviations of ImageNet, of pixels in [0, 1].
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What a pixel of 0-255 is to a program: itself, divided by 255, or that in ImageNet's units.
PIXELS = {
    "raw": "RGB, 0-255",
    "unit": "RGB, 0-1",
    "imagenet": "RGB, (x / 255 - mean) / std with ImageNet's mean and std",
}


def _shift_and_scale(kind: str) -> tuple[Tensor, Tensor]:
    """(a, b), 3 x 1 x 1 each, of pixel = (raw - a) / b."""
    if kind == "imagenet":
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (IMAGENET_MEAN, IMAGENET_STD))
    else:
        mean, std = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    scale = 1 if kind == "raw" else 255
    return (mean * scale).view(3, 1, 1), (std * scale).view(3, 1, 1)


def convert_pixels(raw: Tensor, kind: str) -> Tensor:
    """Pixels as a client of this kind makes them.

    Args:
        raw: B x 3 x H x W, 0-255.
        kind: one of PIXELS.
    """
    shift, scale = _shift_and_scale(kind)
    return ((raw - shift) / scale).to(raw.dtype)


def normalisation_of(kind: str, mean: list[float], std: list[float]) -> tuple[list[float], list[float]]:
    """The mean and deviation that turn pixels of a kind into a network's input.

    Args:
        kind: one of PIXELS.
        mean, std: the same for pixels in 0-255.
    """
    shift, scale = (tensor.flatten() for tensor in _shift_and_scale(kind))
    means, stds = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    return ((means - shift) / scale).tolist(), (stds / scale).tolist()
