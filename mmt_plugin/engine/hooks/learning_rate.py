"""The learning rate moves on."""

from fastreid.engine.train_loop import HookBase

from mmt_plugin.engine.schedule import Schedule


class LearningRateHook(HookBase):
    """Record the learning rate of every iteration, and tell the schedule what is done."""

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def after_step(self) -> None:
        self.trainer.storage.put_scalar("lr", self.schedule.rate, smoothing_hint=False)
        self.schedule.after_step(self.trainer.iter)

    def after_epoch(self) -> None:
        self.schedule.after_epoch(self.trainer.epoch)
