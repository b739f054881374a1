"""When checkpoints are written."""

from fastreid.engine.train_loop import HookBase

from .times import timed


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
