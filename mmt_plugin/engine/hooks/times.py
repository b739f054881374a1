"""How long the stages of an epoch take, as scalars and as a line of the log."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastreid.engine import hooks
from fastreid.engine.train_loop import HookBase
from fastreid.utils.events import EventStorage

from mmt_plugin.report.timeline import STAGES, duration

logger = logging.getLogger("fastreid.mmt")


@contextmanager
def timed(stage: str, storage: EventStorage) -> Iterator[None]:
    """Record the wall time of the block, in seconds, as the scalar ``<stage>_seconds``."""
    start = time.perf_counter()
    yield
    storage.put_scalar(f"{stage}_seconds", time.perf_counter() - start, smoothing_hint=False)


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
        with timed("evaluation", self.trainer.storage):
            super()._do_eval()


class EpochTimesHook(HookBase):
    """Log where an epoch's time went."""

    def before_train(self) -> None:
        self._told = {name: len(self._recorded(name)) for _, name, _ in STAGES}

    def after_epoch(self) -> None:
        trainer, parts = self.trainer, []
        for title, name, _ in STAGES:
            recorded = self._recorded(name)
            if seconds := [value for value, _ in recorded[self._told[name] :]]:
                parts.append(f"{title} {duration(sum(seconds))}")
            self._told[name] = len(recorded)
        logger.info(f"epoch {trainer.epoch + 1}/{trainer.max_epoch} took | " + " | ".join(parts))

    def _recorded(self, name: str) -> list[tuple[float, int]]:
        histories = self.trainer.storage.histories()
        return histories[name].values() if name in histories else []
