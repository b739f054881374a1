"""How long the stages of an epoch take; those of the label step are recorded by its own hook."""

import time

from fastreid.engine import hooks
from fastreid.engine.train_loop import HookBase


class TrainingTimeHook(HookBase):
    """Record the seconds of an epoch's iterations; of those since a run was resumed within the epoch."""

    def before_epoch(self) -> None:
        self._start = time.perf_counter()

    def after_epoch(self) -> None:
        seconds = time.perf_counter() - self._start
        self.trainer.storage.put_scalar("training_seconds", seconds, smoothing_hint=False)


class TimedEvalHook(hooks.EvalHook):
    """fastreid's evaluation hook, recording the seconds of each evaluation."""

    def _do_eval(self) -> None:
        start = time.perf_counter()
        super()._do_eval()
        seconds = time.perf_counter() - start
        self.trainer.storage.put_scalar("evaluation_seconds", seconds, smoothing_hint=False)
