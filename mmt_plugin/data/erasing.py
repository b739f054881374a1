"""Random erasing: rectangles are drawn beside the pixels, and filled when these have left the workers.

The fill is no whole number, and filling is the only step that needs floats: until then a view is bytes.
Shapes: B batch, V views.
"""

import random
from collections.abc import Sequence

import torch
import torchvision.transforms as T
from torch import Tensor

# Top, left, height and width in pixels; a height of 0 erases nothing.
Rectangle = tuple[int, int, int, int]
NOTHING: Rectangle = (0, 0, 0, 0)

MAX_TRIES = 100


class RandomErasing:
    """Random erasing as in the published MMT code.

    Unlike torchvision's, the erased area may reach 40 % (there 33 %) and the aspect ratio is uniform (there
    log-uniform).
    """

    def __init__(self, probability: float, value: Sequence[float]):
        """
        Args:
            probability: of erasing at all.
            value: 3 channel values to fill with, in 0-255.
        """
        self.probability, self.value = probability, value

    def draw(self, image: Tensor) -> Rectangle:
        """What to erase of an image 3 x H x W; nothing if no rectangle fits in 100 tries."""
        if random.random() > self.probability:
            return NOTHING
        height, width = image.shape[1:]
        for _ in range(MAX_TRIES):
            area = random.uniform(0.02, 0.4) * height * width
            aspect = random.uniform(0.3, 1 / 0.3)
            h, w = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if h < height and w < width:
                return random.randint(0, height - h), random.randint(0, width - w), h, w
        return NOTHING

    def __call__(self, image: Tensor) -> Tensor:
        """Erase a rectangle of an image 3 x H x W of floats, in place."""
        rectangles = torch.tensor([[self.draw(image)]])
        return erase(image[None, None], rectangles, self.value)[0, 0]


class TorchvisionErasing(T.RandomErasing):
    """torchvision's erasing, which is fastreid's, that can also only say what it would erase."""

    def draw(self, image: Tensor) -> Rectangle:
        """What to erase of an image 3 x H x W, from the random numbers that `forward` would draw."""
        if torch.rand(1) >= self.p:
            return NOTHING
        *rectangle, fill = self.get_params(image, self.scale, self.ratio, [0.0])
        return NOTHING if fill is image else tuple(rectangle)  # the image itself, where nothing fits


def erase(images: Tensor, rectangles: Tensor, value: Sequence[float]) -> Tensor:
    """Fill the rectangles of images.

    Args:
        images: B x V x 3 x H x W, pixels in 0-255, bytes or floats.
        rectangles: B x V x 4, see `Rectangle`.
        value: 3 channel values to fill with.

    Returns:
        Float images; the given ones, changed, if these are floats.
    """
    images = images.float()
    fill = torch.tensor(value, device=images.device).view(-1, 1, 1)
    for b, views in enumerate(rectangles.tolist()):
        for v, (top, left, height, width) in enumerate(views):
            if height:
                images[b, v, :, top : top + height, left : left + width] = fill
    return images
