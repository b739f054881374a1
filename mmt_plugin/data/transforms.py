"""Training and test transforms: fastreid's, decoded and resized once and augmented once per view, in bytes.

Shapes: V views.
"""

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torchvision.transforms as T
from fastreid.config import CfgNode
from fastreid.data.transforms import ToTensor, build_transforms
from PIL import Image
from torch import Tensor

from .erasing import NOTHING, RandomErasing, TorchvisionErasing

# Grey of what rotation and shearing bring into the picture (published MMT+ code).
AUTOAUGMENT_FILL = [128.0, 128.0, 128.0]
# Steps that only move pixels about: of a tensor they give what they give of a picture, and sooner.
MOVING = (T.Pad, T.CenterCrop, T.RandomCrop, T.RandomHorizontalFlip)

# NumPy's global generator while a view is made; exchanging generators is far cheaper than saving one's state.
_NUMPY_GENERATOR = np.random.MT19937()


class ToBytes:
    """fastreid's ToTensor without its last step, the conversion of bytes to floats."""

    def __call__(self, picture: Image.Image | np.ndarray) -> Tensor:
        """A picture, or H x W x 3 bytes -> 3 x H x W bytes."""
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


class MultiViewTransform:
    """Augment a picture independently for each view; what does not depend on chance is done once.

    Attributes:
        resize: the first step where that is a resize, else None. It is left to who reads the pictures.
    """

    def __init__(self, steps: Sequence[Callable], num_views: int):
        """
        Args:
            steps: fastreid's, of one view.
            num_views: V.
        """
        self.resize, steps = split_resize(in_bytes(steps))
        self.erasing = steps.pop() if hasattr(steps[-1], "draw") else None
        shared = list(itertools.takewhile(lambda step: isinstance(step, (T.Pad, ToBytes)), steps))
        self.shared, self.augment = T.Compose(shared), T.Compose(steps[len(shared) :])
        self.num_views = num_views

    def __call__(self, picture: Image.Image) -> dict[str, Tensor]:
        """Views of a resized picture: ``images``, V x 3 x H x W bytes, and ``erased``, the rectangles (V x 4)
        that are still to be filled.

        With steps that need floats (INPUT.RPT) the images are floats.
        """
        picture, views, rectangles = self.shared(picture), [], []
        for _ in range(self.num_views):
            views.append(self.augment(picture))
            rectangles.append(NOTHING if self.erasing is None else self.erasing.draw(views[-1]))
        return {"images": torch.stack(views), "erased": torch.tensor(rectangles)}


def in_bytes(steps: Sequence[Callable]) -> list[Callable]:
    """The same steps with tensors made as early as pixels allow it, and of bytes.

    They stay floats where more than an erasing follows, which can wait.
    """
    names = [type(step) for step in steps]
    position = names.index(ToTensor)
    before, after = list(steps[:position]), list(steps[position + 1 :])
    if after and not (len(after) == 1 and hasattr(after[0], "draw")):
        return list(steps)
    moving = len(list(itertools.takewhile(lambda step: isinstance(step, MOVING), reversed(before))))
    before.insert(len(before) - moving, ToBytes())
    return before + after


def split_resize(steps: Sequence[Callable]) -> tuple[T.Resize | None, list[Callable]]:
    """A resize that comes first, if one does, and the other steps."""
    if isinstance(steps[0], T.Resize):
        return steps[0], list(steps[1:])
    return None, list(steps)


def build_train_transform(cfg: CfgNode, num_views: int) -> MultiViewTransform:
    """fastreid's training transform (INPUT.*) for several views, with the erasing that INPUT.REA.VARIANT
    names and the automatic augmentation that INPUT.AUTOAUG.VARIANT names.
    """
    steps, rea = build_transforms(cfg, is_train=True).transforms, cfg.INPUT.REA
    erasings = {"mmt": RandomErasing, "host": TorchvisionErasing}
    steps = [
        erasings[rea.VARIANT](rea.PROB, value=rea.VALUE) if isinstance(step, T.RandomErasing) else step
        for step in steps
    ]
    if cfg.INPUT.AUTOAUG.ENABLED and cfg.INPUT.AUTOAUG.VARIANT == "mmt":
        # fastreid's stands first, in a RandomApply of its own.
        augment = T.AutoAugment(T.AutoAugmentPolicy.IMAGENET, fill=AUTOAUGMENT_FILL)
        steps = [T.RandomApply([augment], p=cfg.INPUT.AUTOAUG.PROB), *steps[1:]]
    return MultiViewTransform(steps, num_views)


def build_test_transform(cfg: CfgNode) -> tuple[T.Resize | None, T.Compose]:
    """fastreid's test transform: its resize, and what makes 3 x H x W bytes of a resized picture."""
    resize, steps = split_resize(in_bytes(build_transforms(cfg, is_train=False).transforms))
    return resize, T.Compose(steps)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators, which transforms draw from, and restore them
    afterwards.
    """
    python_state, numpy_generator = random.getstate(), np.random.get_bit_generator()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.set_bit_generator(_NUMPY_GENERATOR)
        np.random.seed(seed % 2**32)
        torch.random.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_bit_generator(numpy_generator)
