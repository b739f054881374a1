"""A progress bar."""

from fastreid.engine.train_loop import HookBase
from tqdm import tqdm


class ProgressBar(HookBase):
    """A bar for each epoch's iterations; on a terminal only."""

    def before_epoch(self) -> None:
        description = f"epoch {self.trainer.epoch + 1}/{self.trainer.max_epoch}"
        self._bar = tqdm(total=self.trainer.iters_per_epoch, desc=description, leave=False, disable=None)

    def after_step(self) -> None:
        self._bar.update()

    def after_epoch(self) -> None:
        self._bar.close()
