"""Features of any images, as evaluation computes them. Shapes: N images, B batch, D feature size."""

import os
from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from fastreid.data.transforms import build_transforms
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmt_plugin.system.devices import batch_device

from .given_images import GivenImages, ImageLike
from .inference_network import load, locate


class FeatureExtractor:
    """The chosen network of a run or an export, from images to features.

    Images are resized and normalised as in evaluation, flipped copies averaged in where TEST.FLIP.ENABLED
    says so; the features are the ones that evaluation ranks.

        extractor = FeatureExtractor("logs/market2duke")
        features = extractor(["a.jpg", "b.jpg"])
        similarity = features @ features.T
    """

    def __init__(
        self,
        source: str | os.PathLike,
        *,
        device: str | torch.device = "auto",
        batch_size: int | None = None,
        num_workers: int = 0,
        normalize: bool = True,
        on_bad: str = "error",
    ):
        """
        Args:
            source: a run's folder, one of its checkpoints, or the folder of an export of any format.
            device: "auto" is CUDA where there is one, else the CPU.
            batch_size: images of a batch; by default TEST.IMS_PER_BATCH.
            num_workers: processes that read and resize images; 0: this one.
            normalize: whether features get unit length, so that their products are cosine similarities.
            on_bad: what an empty array, or a file that cannot be read, is: an "error", or with "skip" a
                warning and a row of NaN, which keeps the other rows where they belong.

        Raises:
            CheckpointError: there is no such model, or its weights do not fit its configuration.
            ImportError: a format needs a package that is not installed.
            ValueError: ``on_bad`` is neither of the two.
        """
        if on_bad not in ("error", "skip"):
            raise ValueError(f"on_bad is {on_bad!r}; choose 'error' or 'skip'")
        model = locate(source)
        self.device = batch_device(device, local_rank=0)
        self.batch_size = batch_size or model.cfg.TEST.IMS_PER_BATCH
        self.num_workers = num_workers
        self.normalize = normalize
        self._flip = model.cfg.TEST.FLIP.ENABLED
        self._size = tuple(model.cfg.INPUT.SIZE_TEST)
        self._skipped = torch.full((3, *self._size), torch.nan) if on_bad == "skip" else None
        self._transform = build_transforms(model.cfg, is_train=False)
        self._network = load(model, self.device)

    @cached_property
    def feature_size(self) -> int:
        """D."""
        with torch.inference_mode():
            return self._network(torch.zeros(1, 3, *self._size, device=self.device)).shape[1]

    @torch.inference_mode()
    def __call__(self, images: Sequence[ImageLike]) -> Tensor:
        """Features of N images.

        Args:
            images: paths, H x W x 3 arrays of uint8 in RGB order (OpenCV reads BGR: turn its arrays round
                with ``array[..., ::-1]``), or Pillow images; sizes and kinds may be mixed.

        Returns:
            N x D float32 on the CPU, in the order of the images.

        Raises:
            UnreadableImageError: a file cannot be read, or an array is empty; the message names it.
            TypeError, ValueError: an image is of another kind, shape or type; the message says which.
        """
        if isinstance(images, (str, os.PathLike)) or not isinstance(images, Sequence):
            raise TypeError(f"expected a list of images, not a {type(images).__name__}")
        if not images:
            return torch.empty(0, self.feature_size)
        loader = DataLoader(
            GivenImages(images, self._transform, self._skipped), self.batch_size, num_workers=self.num_workers
        )
        bar = tqdm(loader, desc="features", leave=False, disable=None)
        features = torch.cat([self._extract(batch.to(self.device)).cpu() for batch in bar])
        return F.normalize(features) if self.normalize else features

    def _extract(self, images: Tensor) -> Tensor:
        bad = images.flatten(1).isnan().any(dim=1)
        images[bad] = 0  # some runtimes spread NaN over the batch
        features = self._network(images)
        if self._flip:
            features = (features + self._network(images.flip(dims=[3]))) / 2
        features[bad] = torch.nan
        return features
