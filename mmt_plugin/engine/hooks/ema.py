"""Mean teachers follow their students."""

from fastreid.engine.train_loop import HookBase


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
