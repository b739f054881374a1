"""One line an epoch."""

import datetime
import logging
import time

from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase

from mmt_plugin.engine.banner import images_per_bn
from mmt_plugin.engine.evaluate_model import network_names

logger = logging.getLogger("fastreid.mmt")


class EpochReport(HookBase):
    """One line an epoch: what the run has recorded, and the time left.

    Attributes:
        FIELDS: (name in the event storage, how to print it); names that a run does not record are left out.
            Before them stand the losses, all that are recorded.
    """

    FIELDS: tuple[tuple[str, str], ...] = ()

    def before_train(self) -> None:
        self._start = time.perf_counter()

    def after_epoch(self) -> None:
        trainer = self.trainer
        latest = trainer.storage.latest_with_smoothing_hint(trainer.iters_per_epoch)
        losses = ["total_loss", *(name for name in latest if name.startswith("loss_"))]
        parts = [f"{_told(name)} {latest[name][0]:.3f}" for name in losses if name in latest]
        parts += [form.format(latest[name][0]) for name, form in self.FIELDS if name in latest]
        parts += self.more(latest)
        done = trainer.epoch + 1 - trainer.start_epoch
        left = (time.perf_counter() - self._start) / done * (trainer.max_epoch - trainer.epoch - 1)
        parts.append(f"eta {datetime.timedelta(seconds=round(left))}")
        logger.info(f"epoch {trainer.epoch + 1}/{trainer.max_epoch} | " + " | ".join(parts))

    def more(self, latest: dict[str, tuple[float, int]]) -> list[str]:
        """What no format of one number says."""
        return []


def _told(name: str) -> str:
    """What a loss is called in the line."""
    return "loss" if name == "total_loss" else name.removeprefix("loss_").replace("_", " ")


class AdaptationReport(EpochReport):
    """Losses, learning rate, clusters, their agreement with the truth and what can be told without it, images
    per BN, mAP, time left.
    """

    FIELDS = (
        ("lr", "lr {:.2e}"),
        ("clusters", "clusters {:.0f}"),
        ("outliers", "outliers {:.0f}"),
        ("largest_cluster", "largest {:.0f}"),
        ("ARI", "ARI {:.3f}"),
        ("NMI", "NMI {:.3f}"),
        ("label_free/stability", "stability {:.3f}"),
        ("label_free/silhouette", "silhouette {:.3f}"),
        ("label_free/twin_agreement", "twin agreement {:.3f}"),
        ("label_free/cross_camera", "cross-camera {:.3f}"),
        ("label_free/conflicts", "conflicts {:.3f}"),
        ("label_free/score", "score {:.3f}"),
        ("unreadable", "unreadable {:.0f}"),
        ("skipped_steps", "skipped steps {:.0f}"),
    )

    def __init__(self, cfg: CfgNode):
        self.images_per_bn = images_per_bn(cfg)

    def more(self, latest: dict[str, tuple[float, int]]) -> list[str]:
        self.trainer.storage.put_scalar("images_per_bn", self.images_per_bn, smoothing_hint=False)
        scores = tuple(f"{network}/mAP" for network in network_names(self.trainer.raw_model))
        before = self.trainer.epoch * self.trainer.iters_per_epoch  # what was measured then is told already
        maps = [
            f"{name} {value:.2f}"
            for name, (value, iteration) in latest.items()
            if name.endswith(scores) and iteration >= before
        ]
        return [f"images per BN {self.images_per_bn}", *maps]
