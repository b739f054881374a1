"""Hooks and writers: evaluation and checkpoints at any period, and every metric written."""

import json
import os
import sys
from collections import defaultdict
from functools import wraps

import torch
from fastreid.engine import hooks
from fastreid.utils.checkpoint import PeriodicCheckpointer
from fastreid.utils.events import (
    CommonMetricPrinter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)

from . import parts
from .patching import replace


def evaluate_at_any_period() -> None:
    """Without it TEST.EVAL_PERIOD 0 divides by zero after the whole training, and one longer than the run
    evaluates after the final checkpoint, which then lacks its metric, as do the logs.
    """
    replace(hooks.EvalHook, "after_epoch", lambda _: _evaluate_after_epoch)
    replace(hooks.EvalHook, "after_train", lambda _: _forget_eval_function)


def _evaluate_after_epoch(self) -> None:
    """Evaluate every TEST.EVAL_PERIOD epochs and after the last; 0: only after the last; negative: never."""
    next_epoch = self.trainer.epoch + 1
    is_last = next_epoch >= self.trainer.max_epoch
    if self._period >= 0 and (is_last or (self._period and next_epoch % self._period == 0)):
        self._do_eval()


def _forget_eval_function(self) -> None:
    # It refers to the trainer, which refers to this hook.
    self._func = None


def checkpoint_at_any_period() -> None:
    """Without it SOLVER.CHECKPOINT_PERIOD 0 divides by zero; here it means: only after the last epoch."""

    def make(init):
        @wraps(init)
        def initialise(self, checkpointer, period, *args, **kwargs):
            init(self, checkpointer, period if period > 0 else sys.maxsize, *args, **kwargs)

        return initialise

    replace(PeriodicCheckpointer, "__init__", make)


def remember_the_best_metric() -> None:
    """Without it a resumed run starts from a best metric of -1 and overwrites a better `model_best` with its
    first checkpoint; without, or with repeated, DATASETS.TESTS it does not find the metric at all.
    """
    replace(hooks.PeriodicCheckpointer, "before_train", lambda _: _prepare_checkpointing)


def _prepare_checkpointing(self) -> None:
    self.max_epoch = self.trainer.max_epoch
    # Results of a single test set are flat, of several they are named by the test set.
    tests = tuple(dict.fromkeys(self.trainer.cfg.DATASETS.TESTS))
    self.metric_name = f"{tests[0]}/metric" if len(tests) > 1 else "metric"
    best = os.path.join(self.checkpointer.save_dir, "model_best.pth")
    if self.trainer.start_epoch > 0 and os.path.isfile(best):
        # Mapped into memory: only the number is read, not the weights.
        self.best_metric = parts.given.load_weights(best, mmap=True)["metric"]


def write_every_scalar() -> None:
    """Without it the last epoch's metrics never reach metrics.json and TensorBoard: they belong to an
    iteration that the writers, which remember one iteration for all scalars, have written already.
    """
    replace(JSONWriter, "write", lambda _: _write_json)
    replace(TensorboardXWriter, "write", _write_tensorboard)


def _write_json(self) -> None:
    lines = defaultdict(dict)
    for name, value, iteration in parts.given.unwritten_scalars(self):
        lines[iteration][name] = value
    for iteration, scalars in lines.items():
        self._file_handle.write(json.dumps({**scalars, "iteration": iteration}, sort_keys=True) + "\n")
    self._file_handle.flush()
    os.fsync(self._file_handle.fileno())


def _write_tensorboard(host_write):
    @wraps(host_write)
    def write(self):
        for name, value, iteration in parts.given.unwritten_scalars(self):
            self._writer.add_scalar(name, value, iteration)
        # The host's part is left to write images and histograms.
        self._last_write = sys.maxsize
        host_write(self)

    return write


def print_an_iteration_once() -> None:
    """Without it the last iteration is printed twice, which in runs of one or two divides by zero."""

    def make(host_write):
        @wraps(host_write)
        def write(self):
            iteration = get_event_storage().iter
            if vars(self).get("_printed") != iteration:
                self._printed = iteration
                host_write(self)

        return write

    replace(CommonMetricPrinter, "write", make)


def profile_with_todays_torch() -> None:
    """Without it the hook `AutogradProfiler` fails with "unexpected keyword argument 'use_cuda'"."""
    replace(hooks.AutogradProfiler, "before_step", lambda _: _start_profiler)


def _start_profiler(self) -> None:
    self._profiler = None
    if self._enable_predicate(self.trainer):
        device = "cuda" if self._use_cuda and torch.cuda.is_available() else None
        self._profiler = torch.autograd.profiler.profile(use_device=device)
        self._profiler.__enter__()


REPAIRS = (
    evaluate_at_any_period,
    checkpoint_at_any_period,
    remember_the_best_metric,
    write_every_scalar,
    print_an_iteration_once,
    profile_with_todays_torch,
)
