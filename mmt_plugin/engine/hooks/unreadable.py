"""Training images that could not be read."""

import logging

from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm

logger = logging.getLogger("fastreid.mmt")


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
