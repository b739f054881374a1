"""Ctrl-C, SIGTERM and SIGHUP: a run that is asked to stop writes a checkpoint first."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import torch
import torch.distributed as dist
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm

from mmt_plugin.system.signals import heeded

from .checkpointer import STOPPED
from .run_state import generators, set_generators

logger = logging.getLogger("fastreid.mmt")

T = TypeVar("T")


class Stopped(KeyboardInterrupt):
    """The run was asked to stop and has written a checkpoint to continue from."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class StopHook(HookBase):
    """Between two iterations, after an epoch, or at once during clustering and evaluation, write a checkpoint
    and stop. The last of the hooks.

    A second Ctrl-C interrupts wherever it falls, without a checkpoint.
    """

    def __init__(self) -> None:
        self._signal = 0
        self._at_once = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block; in the main thread only, as Python wants it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._receive) for number in heeded()}
        previous[signal.SIGCHLD] = signal.getsignal(signal.SIGCHLD)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal:
            return
        self._signal = number
        # Where loader workers are gone, too, torch must not raise an error in mid-step.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self._at_once:
            raise Stopped(number)

    @contextmanager
    def phase(self, steps: int) -> Iterator[None]:
        """A block that reads the networks and changes nothing, so that it can be left at any moment.

        Args:
            steps: iterations of this epoch that are done.
        """
        before = generators()
        if comm.get_world_size() > 1:
            yield  # one process alone must not leave what all do together
            self._leave_together(steps, before)
            return
        try:
            self._at_once = True
            if self._signal:
                raise Stopped(self._signal)
            yield
        except (Stopped, Exception) as error:
            # A library that the signal fell into may have raised an error of its own in place of Stopped, as
            # numpy's comparison of records does.
            if not self._signal:
                raise
            set_generators(before)
            self._save(steps)
            raise Stopped(self._signal) from error
        finally:
            self._at_once = False

    def _leave_together(self, steps: int, before: dict) -> None:
        if self._agreed():
            set_generators(before)
            self._save(steps)
            raise Stopped(self._signal)

    def until_stopped(self, batches: Iterator[T]) -> Iterator[T]:
        """The same batches; where their workers were asked to stop, too, and are gone, stop before the
        next.
        """
        try:
            yield from batches
        except Exception as error:
            # What is raised depends on the moment: torch's RuntimeError for a worker that is gone, or an
            # OSError or EOFError of the connection that a batch was being read from.
            if not self._signal:
                raise
            self._save(self.trainer.steps_done)
            raise Stopped(self._signal) from error

    def after_step(self) -> None:
        trainer = self.trainer
        if self._agreed():
            trainer.gather_state()
            self._save(trainer.iter + 1 - trainer.epoch * trainer.iters_per_epoch)
            raise Stopped(self._signal)

    def after_epoch(self) -> None:
        if self._agreed():
            if self.trainer.epoch + 1 < self.trainer.max_epoch:
                self.trainer.checkpointer.save(STOPPED, epoch=self.trainer.epoch)
            raise Stopped(self._signal)

    def _agreed(self) -> bool:
        """Whether any process has been asked to stop; then all have."""
        if comm.get_world_size() > 1:
            asked = torch.tensor(self._signal, device=self.trainer.raw_model.device)
            dist.all_reduce(asked, dist.ReduceOp.MAX)
            self._signal = int(asked)
        return self._signal > 0

    def _save(self, steps: int) -> None:
        logger.info("Asked to stop: writing a checkpoint")
        self.trainer.checkpointer.save(STOPPED, epoch=self.trainer.epoch - 1, step=steps)
