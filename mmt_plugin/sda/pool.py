"""Earlier translations for the discriminators. Shapes: B batch, P pool size."""

import random

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """A history of translated images, so that a discriminator does not forget what it has seen through
    (Shrivastava et al., CVPR 2017).

    Until P images are in it, every image is stored and returned. From then on each comes back as it is, or,
    with probability 1/2, takes the place of a stored one, which comes back instead. Draws from Python's
    global generator; the images are part of the checkpoint.

    Attributes:
        images: P x 3 x H x W.
        stored: how many of them are in use.
    """

    def __init__(self, size: int, image_size: tuple[int, int]):
        """
        Args:
            size: P; 0 returns every image as it is.
            image_size: height and width.
        """
        super().__init__()
        self.register_buffer("images", torch.zeros(size, 3, *image_size))
        self.register_buffer("stored", torch.tensor(0))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """B x 3 x H x W new translations -> as many to be judged, without gradient."""
        if not len(self.images):
            return images.detach()
        return torch.stack([self._exchange(image) for image in images.detach()])

    def _exchange(self, image: Tensor) -> Tensor:
        if self.stored < len(self.images):
            self.images[self.stored] = image
            self.stored += 1
            return image
        if random.random() < 0.5:
            return image
        row = random.randrange(len(self.images))
        former = self.images[row].clone()
        self.images[row] = image
        return former
