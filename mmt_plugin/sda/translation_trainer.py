"""The trainer of image translation."""

import logging
import statistics
from collections.abc import Sequence

from fastreid.config import CfgNode
from fastreid.engine import hooks
from fastreid.engine.train_loop import TrainerBase
from fastreid.modeling.meta_arch import build_model
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng
from fastreid.utils.events import EventWriter

from mmt_plugin.data.items import training_items
from mmt_plugin.engine.hooks.checkpoints import CheckpointHook
from mmt_plugin.engine.hooks.progress import ProgressBar
from mmt_plugin.engine.hooks.unreadable_images import UnreadableHook
from mmt_plugin.engine.resume.checkpointer import RunCheckpointer
from mmt_plugin.engine.resume.resumable_trainer import ResumableTrainer
from mmt_plugin.engine.schedule import move_on
from mmt_plugin.modeling.layers import SOURCE, TARGET

from .adversarial_step import AdversarialStep
from .cycle_gan import StructuredDomainAdaptation
from .loader import build_paired_loader
from .regularizers import RelationConsistency
from .sample_sheet import sample_images
from .translation_hooks import LinearDecayHook, SheetHook, TranslationReport, build_schedules

logger = logging.getLogger("fastreid.mmt.sda")


class SDACheckpointer(RunCheckpointer):
    """Checkpoints of a StructuredDomainAdaptation model, frozen encoders and pools included."""

    config_keys = "SDA.METHOD, SDA.GENERATOR, SDA.DISCRIMINATOR, SDA.POOL_SIZE, INPUT.SIZE_TRAIN, MODEL"


class SDATrainer(ResumableTrainer):
    """Trains the generators, discriminators and, for SPGAN, similarity network of image translation."""

    def __init__(self, cfg: CfgNode, allow_change: Sequence[str] = ()):
        TrainerBase.__init__(self)
        self.cfg = cfg
        source, target = training_items(cfg.DATASETS.NAMES), training_items(cfg.DATASETS.TARGETS)
        loader = build_paired_loader(cfg, source, target)
        self.iters_per_epoch = len(loader.source.sampler)

        seed_all_rng(cfg.SEED)
        model = self.build_model(cfg)
        self._trainer = AdversarialStep(cfg, model, loader)
        self.schedules = build_schedules(cfg, self._trainer.optimizers)
        self.checkpointer = SDACheckpointer(
            model,
            cfg.OUTPUT_DIR,
            keep=cfg.SOLVER.CHECKPOINT_KEEP,
            save_to_disk=comm.is_main_process(),
            **{f"optimizer_{name}": optimizer for name, optimizer in self._trainer.optimizers.items()},
            **{f"schedule_{name}": schedule for name, schedule in self.schedules.items()},
        )
        count = cfg.SDA.SHEET.IMAGES
        self.samples = sample_images(cfg, source, count), sample_images(cfg, target, count)
        self.prepare_run([*source, *target], allow_change, told_keys=("SOLVER.MAX_EPOCH",))

    def build_hooks(self, writers: list[EventWriter]) -> list[hooks.HookBase]:
        """The run's hooks; what a checkpoint follows is on disk before it."""
        cfg = self.cfg
        ret = [
            hooks.IterationTimer(),
            self.run_state,
            ProgressBar(),
            UnreadableHook() if cfg.DATALOADER.ON_BAD_IMAGE == "skip" else None,
            SheetHook(*self.samples, cfg.SDA.SHEET.PERIOD, cfg.OUTPUT_DIR),
            TranslationReport(),
            hooks.PeriodicWriter(writers, 200),
            LinearDecayHook(self.schedules),
            CheckpointHook(cfg.SOLVER.CHECKPOINT_PERIOD),
            self.stop,
        ]
        return [hook for hook in ret if hook is not None]

    def go_to(self, epoch: int, step: int) -> None:
        """Let the learning rate be that of the position in the run."""
        for schedule in self.schedules.values():
            move_on(schedule, epoch)

    def start_from_weights(self) -> None:
        """Load the encoders; generators and discriminators start from random weights.

        Raises:
            CheckpointError: a checkpoint is missing or does not fit.
        """
        regularizer, sda = self.raw_model.regularizer, self.cfg.SDA
        if isinstance(regularizer, RelationConsistency):
            regularizer.source.load(sda.SOURCE_ENCODER, SOURCE)
            regularizer.target.load(sda.TARGET_ENCODER or sda.SOURCE_ENCODER, TARGET)

    def losses(self) -> dict[str, float]:
        """Medians of the last epoch's losses, of a run that was complete when it was resumed, too."""
        if self.start_epoch < self.max_epoch:
            histories = self.storage.histories().items()
            values = {name: [value for value, _ in history.values()] for name, history in histories}
        else:
            values = {
                name: column.tolist() for name, (column, *_) in self.run_state.resumed["scalars"].items()
            }
        return {
            name: statistics.median(column[-self.iters_per_epoch :])
            for name, column in values.items()
            if name.startswith("loss_")
        }

    @classmethod
    def build_model(cls, cfg: CfgNode) -> StructuredDomainAdaptation:
        """Like fastreid's, but logs the sizes of the parts rather than every layer."""
        model = build_model(cfg)
        sizes = {
            name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.trained.items()
        }
        logger.info(
            f"Structured domain adaptation ({cfg.SDA.METHOD}): {', '.join(cfg.DATASETS.NAMES)} in the style "
            f"of {', '.join(cfg.DATASETS.TARGETS)}; "
            + ", ".join(f"{name} {millions:.2f} M parameters" for name, millions in sizes.items())
        )
        return model
