"""The real trainer over batches that are ready, so that its step is measured without its loader.

Shapes: B batch, V views, C live classes.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import repeat

import torch
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage
from torch import Tensor

from mmt_plugin import data
from mmt_plugin.config import source_batch_size
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.hooks.pseudo_labels import PseudoLabelHook
from mmt_plugin.engine.hooks.source_classes import SourceClassesHook
from mmt_plugin.modeling.layers import SOURCE, TARGET
from mmt_plugin.system.devices import resolve_device

# The trainer needs data sets to start with; no image of theirs is measured.
SMALL_WORLD = [
    *("DATASETS.NAMES", ("SynthPlaza",), "DATASETS.TARGETS", ("SynthMetro",), "DATASETS.TESTS", ()),
    *("SYNTHETIC.TRAIN_IDS", 10, "SYNTHETIC.TRAIN_IMAGES_PER_ID", 6, "SYNTHETIC.TEST_IDS", 8),
    *("SYNTHETIC.TEST_IMAGES_PER_ID", 8, "SYNTHETIC.IMAGE_SIZE", [64, 32], "SYNTHETIC.NUM_WORKERS", 0),
    *("DATALOADER.NUM_WORKERS", 0, "SOLVER.ITERS_PER_EPOCH", 400, "REPORT.ENABLED", False),
    *("MODEL.BACKBONE.PRETRAIN", False, "MMT.WEIGHTS", (), "MMT.SELECTION.RULE", "last"),
]


class ReadyBatches:
    """A loader that hands over the same batch again and again."""

    def __init__(self, batch: dict[str, Tensor]):
        self.batch = batch

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
        """Endless batches."""
        return repeat(self.batch)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.epoch(0)

    def close(self) -> None:
        """There are no workers."""


class ReadyTrainer(MMTTrainer):
    """`MMTTrainer` with all its hooks but those that make labels, in the middle of an epoch."""

    def __init__(self, cfg: CfgNode, batch: dict[str, Tensor]):
        """
        Args:
            cfg: of the run.
            batch: of every iteration; its largest target is the last live class.
        """
        super().__init__(cfg)
        self._hooks = [hook for hook in self._hooks if not isinstance(hook, LABELLING)]
        self._trainer.data_loader = ReadyBatches(batch)
        self.raw_model.set_classifiers(None, int(batch["targets"].max()) + 1)

    def enter_epoch(self) -> None:
        """All that a run does before the first iteration of an epoch, but for its labels."""
        self.epoch = self.iter = self.start_iter = 0
        self.before_train()
        self.before_epoch()

    def one_iteration(self) -> None:
        """A step and everything that goes on around it."""
        self.before_step()
        self.run_step()
        self.after_step()
        self.iter += 1


LABELLING = (PseudoLabelHook, SourceClassesHook)


@contextmanager
def ready_trainer(cfg: CfgNode, classes: int) -> Iterator[ReadyTrainer]:
    """A trainer that has entered an epoch, in a folder of its own.

    Args:
        cfg: a recipe; its data sets are replaced, its networks, losses and batches kept.
        classes: live classes of one domain.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(SMALL_WORLD)
    resolve_device(cfg)
    before = os.environ.get("FASTREID_DATASETS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FASTREID_DATASETS"] = cfg.OUTPUT_DIR = folder
        try:
            data.configure(cfg)
            trainer = ReadyTrainer(cfg, make_batch(cfg, classes))
            with closing(trainer), EventStorage(0) as trainer.storage:
                trainer.enter_epoch()
                yield trainer
        finally:
            os.environ.pop("FASTREID_DATASETS")
            if before is not None:
                os.environ["FASTREID_DATASETS"] = before


def make_batch(cfg: CfgNode, classes: int) -> dict[str, Tensor]:
    """Random images, B x V x 3 x H x W, with the labels and domains of a batch of the recipe."""
    k, views = cfg.DATALOADER.NUM_INSTANCE, cfg.MMT.NUM_PAIRS
    sizes = {TARGET: cfg.SOLVER.IMS_PER_BATCH}
    if cfg.MMT.JOINT.ENABLED:
        sizes = {SOURCE: source_batch_size(cfg), **sizes}
    targets = [
        torch.arange(size // k).remainder(classes).repeat_interleave(k) + index * classes
        for index, size in enumerate(sizes.values())
    ]
    targets[-1][-k:] = len(sizes) * classes - 1  # the last live class
    return {
        "images": 255 * torch.rand(sum(sizes.values()), views, 3, *cfg.INPUT.SIZE_TRAIN),
        "targets": torch.cat(targets),
        "domains": torch.tensor([domain for domain, size in sizes.items() for _ in range(size)]),
    }
