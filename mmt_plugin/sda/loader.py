"""Batches of labelled source images beside target images. Shapes: B batch."""

from collections.abc import Iterator, Sequence

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import Tensor

from mmt_plugin.data.build import LabelledLoader, epoch_length, make_loader, train_images
from mmt_plugin.data.dataset import Item
from mmt_plugin.data.items import dense_ids
from mmt_plugin.data.samplers import EpochBatchSampler, IdentityBatchSampler, ShuffledBatchSampler
from mmt_plugin.data.unreadable import UnreadableImages


class PairedLoader:
    """As many source images, P x K of them, as random target images; each domain keeps its workers for the
    run.
    """

    def __init__(self, source: LabelledLoader, target: LabelledLoader):
        """
        Args:
            source: labelled by identity.
            target: whose labels mean nothing.
        """
        self.source, self.target = source, target

    @property
    def skipped(self) -> list[UnreadableImages]:
        """The unreadable images of this epoch."""
        return [*self.source.skipped, *self.target.skipped]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch, all but the first `start`: ``images`` and ``target_images``, both
        B x 3 x H x W in 0-255, and the source's identities, ``targets``.
        """
        epochs = (self.source.epoch(epoch, start), self.target.epoch(epoch, start))
        for source, target in zip(*epochs, strict=True):
            yield {
                "images": source["images"][:, 0],
                "targets": source["targets"],
                "indices": source["indices"],
                "target_images": target["images"][:, 0],
                "target_indices": target["indices"],
            }

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.epoch(self.source.sampler.epoch)

    def paths(self, batch: dict[str, Tensor]) -> list[str]:
        """Files of a batch's images, the source's first."""
        loaders = ((self.source, "indices"), (self.target, "target_indices"))
        return [loader.dataset.pictures.paths[i] for loader, key in loaders for i in batch[key].tolist()]

    def close(self) -> None:
        """End the worker processes."""
        self.source.close()
        self.target.close()


def build_paired_loader(cfg: CfgNode, source: Sequence[Item], target: Sequence[Item]) -> PairedLoader:
    """SOLVER.IMS_PER_BATCH images of each domain; an epoch is SOLVER.ITERS_PER_EPOCH of them, or one pass
    over the source.
    """
    size, iterations = cfg.SOLVER.IMS_PER_BATCH, epoch_length(cfg, len(source))
    ranks = {"rank": comm.get_rank(), "world_size": comm.get_world_size()}
    identities = dense_ids([item[1] for item in source])
    cameras = dense_ids([item[2] for item in source])
    by_identity = IdentityBatchSampler(
        cameras, size, cfg.DATALOADER.NUM_INSTANCE, iterations, cfg.SEED, **ranks
    )
    by_identity.set_labels(identities)
    shuffled = ShuffledBatchSampler(len(target), size, iterations, cfg.SEED, **ranks)
    return PairedLoader(
        _loader(cfg, source, by_identity, torch.as_tensor(identities)),
        _loader(cfg, target, shuffled, torch.zeros(len(target), dtype=torch.long)),
    )


def _loader(
    cfg: CfgNode, items: Sequence[Item], sampler: EpochBatchSampler, labels: Tensor
) -> LabelledLoader:
    loader = LabelledLoader(cfg, make_loader(train_images(cfg, items, num_views=1), sampler, cfg))
    loader.labels = labels
    return loader
