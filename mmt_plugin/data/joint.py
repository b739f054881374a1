"""Batches of two domains in one label space. Shapes: B batch, S source classes."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor

from mmt_plugin.config import source_batch_size
from mmt_plugin.modeling.layers import SOURCE, TARGET

from .build import LabelledLoader, build_train_loader, epoch_length
from .dataset import Item
from .items import dense_ids
from .unreadable import UnreadableImages


class JointLoader:
    """A source batch and a target batch as one, source first; each domain keeps its workers for the run.

    Source classes are 0..S-1 whatever happens to the target: the classes of the target's labels follow them.
    """

    def __init__(self, source: LabelledLoader, target: LabelledLoader, num_source_classes: int):
        """
        Args:
            source: has its labels already.
            target: gets its labels from `set_labels`.
            num_source_classes: S.
        """
        self.source, self.target = source, target
        self.num_source_classes = num_source_classes

    @property
    def sampler(self):
        """The target's batch sampler, whose length is that of an epoch."""
        return self.target.sampler

    def set_labels(self, labels: np.ndarray) -> None:
        """Use N target labels from 0, -1 for images left out, from the next epoch on."""
        self.target.set_labels(labels)

    @property
    def skipped(self) -> list[UnreadableImages]:
        """The unreadable images of this epoch, the target's last."""
        return [*self.source.skipped, *self.target.skipped]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch, all but the first `start`, with the domain of each image."""
        epochs = (self.source.epoch(epoch, start), self.target.epoch(epoch, start))
        for source, target in zip(*epochs, strict=True):
            yield {
                "images": torch.cat([source["images"], target["images"]]),
                "targets": torch.cat([source["targets"], target["targets"] + self.num_source_classes]),
                "indices": torch.cat([source["indices"], target["indices"]]),
                "domains": torch.tensor(
                    [SOURCE] * len(source["targets"]) + [TARGET] * len(target["targets"])
                ),
            }

    def paths(self, batch: dict[str, Tensor]) -> list[str]:
        """Files of a batch's images."""
        loaders = {SOURCE: self.source, TARGET: self.target}
        indices, domains = batch["indices"].tolist(), batch["domains"].tolist()
        return [loaders[domain].dataset.pictures.paths[i] for i, domain in zip(indices, domains, strict=True)]

    def close(self) -> None:
        """End the worker processes."""
        self.source.close()
        self.target.close()

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.epoch(self.sampler.epoch)


def build_joint_loader(cfg: CfgNode, source: Sequence[Item], target: Sequence[Item]) -> JointLoader:
    """P x K batches of either domain, together SOLVER.IMS_PER_BATCH target and MMT.JOINT source images."""
    labels = dense_ids([item[1] for item in source])
    iterations = epoch_length(cfg, len(target))
    source_loader = build_train_loader(cfg, source, source_batch_size(cfg), iterations)
    source_loader.set_labels(labels)
    return JointLoader(source_loader, build_train_loader(cfg, target), int(labels.max()) + 1)
