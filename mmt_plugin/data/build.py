"""Datasets by name, and loaders whose workers live as long as the run."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.samplers import InferenceSampler
from fastreid.utils import comm
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from mmt_plugin.errors import DataError
from mmt_plugin.system.devices import batch_device
from mmt_plugin.system.signals import leave_signals_to_the_main_process

from .cache import CachedFiles, is_cachable
from .dataset import (
    ImageFiles,
    Item,
    TestImages,
    TrainImages,
)
from .erasing import erase
from .items import dense_ids, training_items
from .samplers import GroupBatchSampler, IdentityBatchSampler, ShuffledBatchSampler
from .transforms import build_test_transform, build_train_transform
from .unreadable import UnreadableImages, collate, unreadable_rows


def epoch_length(cfg: CfgNode, num_images: int) -> int:
    """Iterations of one epoch.

    Raises:
        DataError: if one pass over the images does not fill a batch.
    """
    iterations = cfg.SOLVER.ITERS_PER_EPOCH or num_images // cfg.SOLVER.IMS_PER_BATCH
    if iterations == 0:
        raise DataError(
            f"{num_images} training images do not fill a batch of {cfg.SOLVER.IMS_PER_BATCH} "
            "(SOLVER.IMS_PER_BATCH): "
            "lower it or set SOLVER.ITERS_PER_EPOCH"
        )
    return iterations


def make_loader(dataset: Dataset, batch_sampler: Sampler, cfg: CfgNode) -> DataLoader:
    """A loader whose workers survive from one epoch to the next.

    It draws its workers' seeds from a generator of its own, so that dropout does not depend on their number.
    """
    workers = cfg.DATALOADER.NUM_WORKERS
    return DataLoader(
        dataset,
        batch_sampler=batch_sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
        worker_init_fn=leave_signals_to_the_main_process,
        generator=torch.Generator().manual_seed(cfg.SEED),
        pin_memory=torch.device(cfg.MODEL.DEVICE).type == "cuda",
    )


def end_workers(loader: DataLoader) -> None:
    """End the worker processes of a loader; they start again when it is iterated again."""
    if loader._iterator is not None:
        loader._iterator._shutdown_workers()
        loader._iterator = None


class LabelledLoader:
    """Endless labelled batches, epoch after epoch, under labels that may change between epochs.

    An epoch's batches are drawn when it starts and are all consumed before the next one: no batch drawn under
    old labels is ever seen under new ones. Workers hand over bytes; random erasing is done here, on the
    device.
    """

    def __init__(self, cfg: CfgNode, loader: DataLoader, bn_loader: DataLoader | None = None):
        """
        Args:
            cfg: the run's configuration.
            loader: of TrainImages.
            bn_loader: of images of the unlabelled domain that only the BN layers see, one batch with every
                training batch.
        """
        self.loader, self.sampler, self.bn_loader = loader, loader.batch_sampler, bn_loader
        self.labels: Tensor | None = None
        self.unreadable = UnreadableImages.from_config(cfg, self.dataset.pictures.paths)
        self.fill = cfg.INPUT.REA.VALUE
        self.device = batch_device(cfg.MODEL.DEVICE, comm.get_local_rank())

    @property
    def skipped(self) -> list[UnreadableImages]:
        """The unreadable images of this epoch."""
        return [self.unreadable]

    @property
    def dataset(self) -> TrainImages:
        return self.loader.dataset

    def set_labels(self, labels: np.ndarray) -> None:
        """Use N labels, -1 for images left out, from the next epoch on."""
        self.sampler.set_labels(labels)
        self.labels = torch.as_tensor(labels)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch, all but the first `start`."""
        self.sampler.set_epoch(epoch, start)
        if self.bn_loader is None:
            for batch in self.loader:
                yield self._label(batch)
            return
        self.bn_loader.batch_sampler.set_epoch(epoch, start)
        for batch, bn_batch in zip(self.loader, self.bn_loader, strict=True):
            readable = ~unreadable_rows(bn_batch["images"])  # before the images are on the device
            bn_images = self._erased(bn_batch)["images"][readable, 0]
            yield {**self._label(batch), "bn_images": bn_images}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.epoch(self.sampler.epoch)

    def _label(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._erased(self.unreadable.replace({**batch, "targets": self.labels[batch["indices"]]}))

    def _erased(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        rectangles = batch["erased"]
        images = batch["images"].to(self.device, non_blocking=True)
        if rectangles.any():
            images = erase(images, rectangles, self.fill)
        return {**{name: value for name, value in batch.items() if name != "erased"}, "images": images}

    def paths(self, batch: dict[str, Tensor]) -> list[str]:
        """Files of a batch's images."""
        return [self.dataset.pictures.paths[i] for i in batch["indices"].tolist()]

    def close(self) -> None:
        """End the worker processes."""
        for loader in (self.loader, self.bn_loader):
            if loader is not None:
                end_workers(loader)


def build_train_loader(
    cfg: CfgNode, items: Sequence[Item], batch_size: int | None = None, iterations: int | None = None
) -> LabelledLoader:
    """P x K batches, or those that DATALOADER.BATCHES asks for, of as many views as there are pairs; with
    MMT.TARGET_BN, target images for the BN layers beside them.

    Args:
        cfg: the run's configuration.
        items: images to train on.
        batch_size: images over all processes; by default SOLVER.IMS_PER_BATCH.
        iterations: batches of an epoch; by default what `epoch_length` says.
    """
    batch_size = batch_size or cfg.SOLVER.IMS_PER_BATCH
    iterations = iterations or epoch_length(cfg, len(items))
    ranks = {"rank": comm.get_rank(), "world_size": comm.get_world_size()}
    if cfg.DATALOADER.BATCHES == "uniform":
        sampler = ShuffledBatchSampler(len(items), batch_size, iterations, cfg.SEED, **ranks)
    else:
        by_groups = cfg.DATALOADER.BATCHES == "groups"
        # Where all images are of one camera, none is preferred.
        by_cameras = not by_groups and cfg.DATALOADER.OTHER_CAMERAS
        cameras = dense_ids([item[2] for item in items]) if by_cameras else np.zeros(len(items))
        sampler = (GroupBatchSampler if by_groups else IdentityBatchSampler)(
            cameras, batch_size, cfg.DATALOADER.NUM_INSTANCE, iterations, cfg.SEED, **ranks
        )
    bn_loader = None
    if cfg.MMT.TARGET_BN:
        bn_items = training_items(cfg.DATASETS.TARGETS)
        bn_sampler = ShuffledBatchSampler(len(bn_items), batch_size, iterations, cfg.SEED, **ranks)
        bn_loader = make_loader(train_images(cfg, bn_items, num_views=1), bn_sampler, cfg)
    loader = make_loader(train_images(cfg, items, cfg.MMT.NUM_PAIRS), sampler, cfg)
    return LabelledLoader(cfg, loader, bn_loader)


def build_extraction_loader(cfg: CfgNode, items: Sequence[Item]) -> DataLoader:
    """This rank's consecutive share of the images under the test transform, in order: batches of
    B x 3 x H x W bytes, or floats where an unreadable image, which is NaN, is among them.
    """
    batch = max(1, cfg.TEST.IMS_PER_BATCH // comm.get_world_size())
    dataset = test_images(cfg, items)
    return make_loader(dataset, BatchSampler(InferenceSampler(len(dataset)), batch, drop_last=False), cfg)


def train_images(cfg: CfgNode, items: Sequence[Item], num_views: int) -> TrainImages:
    """Views of images under the training transform."""
    transform = build_train_transform(cfg, num_views)
    pictures = _files(cfg, items, transform.resize)
    if cfg.DATALOADER.CACHE:
        pictures = CachedFiles(pictures, cfg.DATALOADER.CACHE)
        pictures.fill(cfg.DATALOADER.NUM_WORKERS)
    return TrainImages(pictures, transform)


def test_images(cfg: CfgNode, items: Sequence[Item]) -> TestImages:
    """Images under the test transform, from the cache if training has filled it with them in this size."""
    resize, transform = build_test_transform(cfg)
    pictures = _files(cfg, items, resize)
    if cfg.DATALOADER.CACHE and is_cachable(resize):
        cached = CachedFiles(pictures, cfg.DATALOADER.CACHE)
        pictures = cached if cached.is_complete() else pictures
    return TestImages(pictures, transform)


def _files(cfg: CfgNode, items: Sequence[Item], resize: Callable | None) -> ImageFiles:
    return ImageFiles([item[0] for item in items], resize, cfg.DATALOADER.ON_BAD_IMAGE == "skip")
