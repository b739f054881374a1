"""The training loop: exceptions, finished runs, mixed precision on the CPU."""

import logging
import time
from contextlib import nullcontext
from functools import wraps

import torch
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer, TrainerBase
from fastreid.utils import comm
from fastreid.utils.events import EventStorage
from fastreid.utils.params import ContiguousParams

from . import parts
from .patching import replace

logger = logging.getLogger("fastreid.mmt.host")


def report_the_first_failure() -> None:
    """Without it a hook's exception before the first epoch is hidden behind "no attribute 'epoch'", and
    resuming a finished run ends in the same error.
    """
    replace(TrainerBase, "train", lambda _: _train)


def _train(self, start_epoch: int, max_epoch: int, iters_per_epoch: int) -> None:
    """Train the epochs from `start_epoch` to before `max_epoch`; see `TrainerBase`.

    A trainer that resumes within an epoch says so by `start_step`, the iterations of it that are done.
    """
    if start_epoch >= max_epoch:
        logger.info("Nothing left to train: %d of %d epochs are done", start_epoch, max_epoch)
        return
    logger.info("Starting training from epoch %d", start_epoch)
    self.epoch = start_epoch
    self.iter = self.start_iter = start_epoch * iters_per_epoch + getattr(self, "start_step", 0)
    # What is recorded between two epochs belongs to the last iteration of the first.
    with EventStorage(max(self.start_iter - 1, 0)) as self.storage:
        try:
            self.before_train()
            for self.epoch in range(start_epoch, max_epoch):
                self.before_epoch()
                while self.iter < (self.epoch + 1) * iters_per_epoch:
                    self.before_step()
                    self.run_step()
                    self.after_step()
                    self.iter += 1
                self.after_epoch()
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):
                logger.exception("Exception during training:")
            _after_failed_training(self)
            raise
        self.after_train()


def _after_failed_training(trainer: TrainerBase) -> None:
    """Let the hooks tidy up; what fails in them now is a consequence, not the news."""
    try:
        trainer.after_train()
    except Exception:
        logger.warning("A hook's after_train failed as well:", exc_info=True)


def train_without_evaluation() -> None:
    """Without it a training that evaluates nothing ends in an AssertionError."""

    def make(_):
        def train(self):
            """Train; returns the last evaluation's results on the main process, None where there was no
            evaluation.
            """
            TrainerBase.train(self, self.start_epoch, self.max_epoch, self.iters_per_epoch)
            return getattr(self, "_last_eval_results", None) if comm.is_main_process() else None

        return train

    replace(DefaultTrainer, "train", make)


def warn_where_logger_has_no_warn() -> None:
    """Without it a test set without evaluator fails where `Logger.warn`, long deprecated, is gone."""
    if not hasattr(logging.Logger, "warn"):
        host_logger = logging.getLogger(DefaultTrainer.__module__)
        host_logger.warn = host_logger.warning


def train_mixed_precision_on_cpu() -> None:
    """Without it SOLVER.AMP.ENABLED, which the host's base config sets, stops every run on a CPU with an
    AssertionError.
    """
    replace(AMPTrainer, "__init__", _init_amp)
    replace(AMPTrainer, "run_step", _run_amp_step)


def _init_amp(host_init):
    @wraps(host_init)
    def initialise(self, model, data_loader, optimizer, param_wrapper, grad_scaler=None):
        if _is_on_cpu(model):
            SimpleTrainer.__init__(self, model, data_loader, optimizer, param_wrapper)
            self.grad_scaler = None
        else:
            host_init(self, model, data_loader, optimizer, param_wrapper, grad_scaler)

    return initialise


def _run_amp_step(host_run_step):
    @wraps(host_run_step)
    def run_step(self):
        if not _is_on_cpu(self.model):
            host_run_step(self)
            return
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        with torch.autocast("cpu", dtype=torch.bfloat16) if parts.given.cpu_has_bfloat16() else nullcontext():
            loss_dict = self.model(data)
            losses = sum(loss_dict.values())
        self.optimizer.zero_grad()
        losses.backward()
        self._write_metrics(loss_dict, data_time)
        self.optimizer.step()
        if isinstance(self.param_wrapper, ContiguousParams):
            self.param_wrapper.assert_buffer_is_valid()

    return run_step


def _is_on_cpu(model: torch.nn.Module) -> bool:
    return next(model.parameters()).device.type == "cpu"


REPAIRS = (
    report_the_first_failure,
    train_without_evaluation,
    warn_where_logger_has_no_warn,
    train_mixed_precision_on_cpu,
)
