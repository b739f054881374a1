"""Training images that could not be read."""

import logging

from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm

logger = logging.getLogger("fastreid.mmt")


class UnreadableHook(HookBase):
    """Say at the end of an epoch how many training images were skipped, and which."""

    def __init__(self) -> None:
        self._resumed: list[list[int]] = []
        self._counted: list[list[int]] = []

    def before_epoch(self) -> None:
        if self.trainer.steps_done and self._resumed:  # within an epoch
            for skipped, indices in zip(self.trainer.data_loader.skipped, self._resumed, strict=True):
                skipped.add(indices)
        self._resumed, self._counted = [], []

    def state_dict(self) -> dict:
        """What this epoch has met so far, and after its last iteration all."""
        return {"indices": self._counted or self._met()}

    def load_state_dict(self, state: dict) -> None:
        self._resumed = state["indices"]

    def _met(self) -> list[list[int]]:
        return [sorted(skipped.indices) for skipped in self.trainer.data_loader.skipped]

    def gather(self) -> None:
        """Let every rank know what all have met; called by all of them, before one writes a checkpoint."""
        for skipped in self.trainer.data_loader.skipped:
            for indices in comm.all_gather(skipped.indices):
                skipped.add(indices)

    def after_epoch(self) -> None:
        self.gather()
        count, self._counted = 0, self._met()
        for skipped in self.trainer.data_loader.skipped:
            if skipped.indices:
                logger.warning(f"Epoch {self.trainer.epoch + 1}: {skipped.describe()}")
            count += len(skipped.indices)
            skipped.indices.clear()
        self.trainer.storage.put_scalar("unreadable", count, smoothing_hint=False)
