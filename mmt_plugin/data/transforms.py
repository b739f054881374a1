"""Training transforms: fastreid's, decoded and resized once and augmented once per view. Shapes: V views."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
import torchvision.transforms as T
from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms
from PIL import Image
from torch import Tensor

MAX_ERASING_TRIES = 100
# Grey of what rotation and shearing bring into the picture (published MMT+ code).
AUTOAUGMENT_FILL = [128.0, 128.0, 128.0]


class RandomErasing:
    """Random erasing as in the published MMT code.

    Unlike torchvision's, the erased area may reach 40 % (there 33 %) and the aspect ratio is uniform (there
    log-uniform).
    """

    def __init__(self, probability: float, value: list[float]):
        """
        Args:
            probability: of erasing at all.
            value: 3 channel values to fill with, in 0-255.
        """
        self.probability = probability
        self.value = torch.tensor(value).view(-1, 1, 1)

    def __call__(self, image: Tensor) -> Tensor:
        """Erase one rectangle of an image 3 x H x W, in place; none if none fits in 100 tries."""
        if random.random() > self.probability:
            return image
        height, width = image.shape[1:]
        for _ in range(MAX_ERASING_TRIES):
            area = random.uniform(0.02, 0.4) * height * width
            aspect = random.uniform(0.3, 1 / 0.3)
            h, w = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if h < height and w < width:
                top, left = random.randint(0, height - h), random.randint(0, width - w)
                image[:, top : top + h, left : left + w] = self.value
                return image
        return image


class MultiViewTransform:
    """Resize an image once, then augment it independently for each view."""

    def __init__(self, transform: T.Compose, num_views: int):
        """
        Args:
            transform: the augmentation of one view; a leading resize is shared by all views.
            num_views: V.
        """
        steps = list(transform.transforms)
        self.resize = steps.pop(0) if isinstance(steps[0], T.Resize) else None
        self.augment = T.Compose(steps)
        self.num_views = num_views

    def __call__(self, image: Image.Image) -> Tensor:
        """A decoded image -> V x 3 x H x W, pixels in 0-255."""
        if self.resize is not None:
            image = self.resize(image)
        return torch.stack([self.augment(image) for _ in range(self.num_views)])


def build_train_transform(cfg: CfgNode, num_views: int) -> MultiViewTransform:
    """fastreid's training transform (INPUT.*) for several views, with the erasing that INPUT.REA.VARIANT
    names and the automatic augmentation that INPUT.AUTOAUG.VARIANT names.
    """
    steps = build_transforms(cfg, is_train=True).transforms
    if cfg.INPUT.REA.ENABLED and cfg.INPUT.REA.VARIANT == "mmt":
        erasing = RandomErasing(cfg.INPUT.REA.PROB, cfg.INPUT.REA.VALUE)
        steps = [erasing if isinstance(step, T.RandomErasing) else step for step in steps]
    if cfg.INPUT.AUTOAUG.ENABLED and cfg.INPUT.AUTOAUG.VARIANT == "mmt":
        # fastreid's stands first, in a RandomApply of its own.
        augment = T.AutoAugment(T.AutoAugmentPolicy.IMAGENET, fill=AUTOAUGMENT_FILL)
        steps = [T.RandomApply([augment], p=cfg.INPUT.AUTOAUG.PROB), *steps[1:]]
    return MultiViewTransform(T.Compose(steps), num_views)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators, which transforms draw from, and restore them
    afterwards.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.random.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
