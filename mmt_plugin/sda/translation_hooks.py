"""Hooks of a translation run: the learning rate's decay, sample sheets, and one line an epoch."""

from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torchvision.transforms.functional import pil_to_tensor

from mmt_plugin.engine.hooks.epoch_report import EpochReport
from mmt_plugin.system.files import replace_when_complete

from .sample_sheet import draw_sheet


def linear_decay(epoch: int, max_epoch: int, decay_epochs: int) -> float:
    """The factor of the learning rate in an epoch, from 0: 1, then falling linearly over the last epochs.

    1 - max(0, e + 1 - constant) / (decay + 1), as the published code counts; the report has
    1 - max(0, e - constant) / decay.
    """
    constant = max_epoch - decay_epochs
    return 1 - max(0, epoch + 1 - constant) / (decay_epochs + 1)


def build_schedules(cfg: CfgNode, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, LambdaLR]:
    """`linear_decay` for each optimiser, by its name."""

    def factor(epoch: int) -> float:
        return linear_decay(epoch, cfg.SOLVER.MAX_EPOCH, cfg.SDA.DECAY_EPOCHS)

    return {name: LambdaLR(optimizer, factor) for name, optimizer in optimizers.items()}


class LinearDecayHook(HookBase):
    """Record the learning rate, which all optimisers share, and let it fall after each epoch."""

    def __init__(self, schedules: dict[str, LambdaLR]):
        """
        Args:
            schedules: one an optimiser.
        """
        self.schedules = schedules

    def before_epoch(self) -> None:
        rate = self.schedules["generators"].get_last_lr()[0]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)

    def after_epoch(self) -> None:
        for schedule in self.schedules.values():
            schedule.step()


class SheetHook(HookBase):
    """Draw the same people's translations every few epochs and after the last, as OUTPUT_DIR/sheets/*.jpg
    and for TensorBoard.
    """

    def __init__(self, source: Tensor, target: Tensor, period: int, folder: str):
        """
        Args:
            source, target: images in 0-255.
            period: epochs between two sheets; 0: only after the last.
            folder: OUTPUT_DIR.
        """
        self.source, self.target, self.period = source, target, period
        self.folder = Path(folder, "sheets")

    def after_epoch(self) -> None:
        done = self.trainer.epoch + 1
        due = done == self.trainer.max_epoch or (self.period and done % self.period == 0)
        if not due or not comm.is_main_process():
            return
        sheet = draw_sheet(self.trainer.raw_model, self.source, self.target)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replace_when_complete(str(self.folder / f"epoch_{done:04d}.jpg"), "wb") as file:
            sheet.save(file, "JPEG", quality=90)
        self.trainer.storage.put_image("sheet", pil_to_tensor(sheet))


class TranslationReport(EpochReport):
    """Losses, learning rate, time left."""

    FIELDS = (
        ("lr", "lr {:.2e}"),
        ("unreadable", "unreadable {:.0f}"),
        ("skipped_steps", "skipped steps {:.0f}"),
    )
