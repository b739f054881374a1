"""Hooks of an adaptation run: EMA teachers and checkpoints, and what a person following the run
sees.
"""

import datetime
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm
from tqdm import tqdm

from mmt_plugin.data.build import build_dataset
from mmt_plugin.evaluation.networks import network_names
from mmt_plugin.modeling.collectives import average_over_processes
from mmt_plugin.modeling.layers import running_statistics
from mmt_plugin.reporting import draw_rank_list

from .banner import images_per_bn
from .stage_times import timed

if TYPE_CHECKING:
    from .trainer import MMTTrainer

logger = logging.getLogger("fastreid.mmt")


class EMAHook(HookBase):
    """Update the mean teachers after every optimiser step."""

    def __init__(self, alpha: float, warmup: bool):
        """
        Args:
            alpha: of the temporal average, in [0, 1).
            warmup: limit alpha to 1 - 1 / (t + 1) at the t-th update (t from 0), so that young teachers
                average evenly.
        """
        self.alpha = alpha
        self.warmup = warmup

    def after_step(self) -> None:
        step = self.trainer.iter
        if self.trainer.step_was_skipped:
            return
        self.trainer.raw_model.update_teachers(
            min(1 - 1 / (step + 1), self.alpha) if self.warmup else self.alpha
        )


class BatchNormHook(HookBase):
    """Give all processes the mean of their BN statistics after an epoch, before anything looks at the model.

    Each collects those of its own images; what is evaluated and saved is then that of all images, as in a
    single process.
    """

    def after_epoch(self) -> None:
        average_over_processes(running_statistics(self.trainer.raw_model))


class UnreadableHook(HookBase):
    """Say at the end of an epoch how many training images were skipped, and which."""

    def after_epoch(self) -> None:
        count = 0
        for skipped in self.trainer.data_loader.skipped:
            for indices in comm.all_gather(skipped.indices):
                skipped.add(indices)
            if skipped.indices:
                logger.warning(f"Epoch {self.trainer.epoch + 1}: {skipped.describe()}")
            count += len(skipped.indices)
            skipped.indices.clear()
        self.trainer.storage.put_scalar("unreadable", count, smoothing_hint=False)


class CheckpointHook(HookBase):
    """Save every ``period`` epochs, and ``model_final`` after the last; see MMTCheckpointer for which of them
    are kept.
    """

    def __init__(self, period: int):
        self.period = period

    def after_epoch(self) -> None:
        epoch = self.trainer.epoch
        is_last = epoch + 1 == self.trainer.max_epoch
        if is_last or (self.period > 0 and (epoch + 1) % self.period == 0):
            with timed("checkpoint", self.trainer.storage):
                name = "model_final" if is_last else f"model_{epoch:04d}"
                self.trainer.checkpointer.save(name, epoch=epoch)


class ProgressBar(HookBase):
    """A bar for each epoch's iterations; on a terminal only."""

    def before_epoch(self) -> None:
        description = f"epoch {self.trainer.epoch + 1}/{self.trainer.max_epoch}"
        self._bar = tqdm(total=self.trainer.iters_per_epoch, desc=description, leave=False, disable=None)

    def after_step(self) -> None:
        self._bar.update()

    def after_epoch(self) -> None:
        self._bar.close()


class EpochReport(HookBase):
    """One line an epoch: what the run has recorded, and the time left.

    Attributes:
        FIELDS: (name in the event storage, how to print it); names that a run does not record are left out.
    """

    FIELDS: tuple[tuple[str, str], ...] = ()

    def before_train(self) -> None:
        self._start = time.perf_counter()

    def after_epoch(self) -> None:
        trainer = self.trainer
        latest = trainer.storage.latest_with_smoothing_hint(trainer.iters_per_epoch)
        parts = [form.format(latest[name][0]) for name, form in self.FIELDS if name in latest]
        parts += self.more(latest)
        done = trainer.epoch + 1 - trainer.start_epoch
        left = (time.perf_counter() - self._start) / done * (trainer.max_epoch - trainer.epoch - 1)
        parts.append(f"eta {datetime.timedelta(seconds=round(left))}")
        logger.info(f"epoch {trainer.epoch + 1}/{trainer.max_epoch} | " + " | ".join(parts))

    def more(self, latest: dict[str, tuple[float, int]]) -> list[str]:
        """What no format of one number says."""
        return []


class AdaptationReport(EpochReport):
    """Losses, learning rate, clusters, their agreement with the truth and what can be told without it, images
    per BN, mAP, time left.
    """

    FIELDS = (
        ("total_loss", "loss {:.3f}"),
        ("loss_ce", "ce {:.3f}"),
        ("loss_soft_ce", "soft ce {:.3f}"),
        ("loss_triplet", "triplet {:.3f}"),
        ("loss_soft_triplet", "soft triplet {:.3f}"),
        ("loss_moco", "moco {:.3f}"),
        ("lr", "lr {:.2e}"),
        ("clusters", "clusters {:.0f}"),
        ("unclustered", "un-clustered {:.0f}"),
        ("largest_cluster", "largest {:.0f}"),
        ("ARI", "ARI {:.3f}"),
        ("NMI", "NMI {:.3f}"),
        ("label_free/stability", "stability {:.3f}"),
        ("label_free/silhouette", "silhouette {:.3f}"),
        ("label_free/twin_agreement", "twin agreement {:.3f}"),
        ("label_free/cross_camera", "cross-camera {:.3f}"),
        ("label_free/score", "score {:.3f}"),
        ("unreadable", "unreadable {:.0f}"),
        ("skipped_steps", "skipped steps {:.0f}"),
    )

    def __init__(self, cfg: CfgNode):
        self.images_per_bn = images_per_bn(cfg)

    def more(self, latest: dict[str, tuple[float, int]]) -> list[str]:
        self.trainer.storage.put_scalar("images_per_bn", self.images_per_bn, smoothing_hint=False)
        scores = tuple(f"{network}/mAP" for network in network_names(self.trainer.raw_model))
        maps = [f"{name} {value:.2f}" for name, (value, _) in latest.items() if name.endswith(scores)]
        return [f"images per BN {self.images_per_bn}", *maps]


def draw_results(trainer: "MMTTrainer") -> None:
    """Draw the first test set's ranked results, as the last evaluation found them, as ``rank_list.jpg``."""
    if not trainer.evaluators or comm.get_world_size() > 1:
        return
    name, evaluator = next(iter(trainer.evaluators.items()))
    dataset = build_dataset(name)
    query, gallery = evaluator.features(int(trainer.raw_model.inference_index))
    path = Path(trainer.cfg.OUTPUT_DIR, "rank_list.jpg")
    draw_rank_list(dataset.query, dataset.gallery, query, gallery, path)
    logger.info(f"Ranked results of {name}: {path}")
