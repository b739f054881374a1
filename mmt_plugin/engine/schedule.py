"""The learning rate: a function of the configuration and of the position in the run, of nothing else."""

import math
import warnings

import torch
from fastreid.config import CfgNode
from fastreid.solver import build
from torch.optim.lr_scheduler import LRScheduler


def warmup_iterations(cfg: CfgNode, iters_per_epoch: int) -> int:
    """Length of the warm-up: SOLVER.WARMUP_EPOCHS, or without it SOLVER.WARMUP_ITERS, in iterations."""
    solver = cfg.SOLVER
    if solver.WARMUP_EPOCHS > 0:
        return round(solver.WARMUP_EPOCHS * iters_per_epoch)
    return solver.WARMUP_ITERS


class Schedule:
    """fastreid's warm-up and decay, told of every iteration and epoch that is done.

    The warm-up rises with the iterations, as in fastreid, or with the epochs, as in the published codes (see
    SOLVER.WARMUP_STEP). SOLVER.STEPS and the cosine count the epochs from the end of the warm-up on.

    Attributes:
        schedulers: torch's, by the names that fastreid gives them.
    """

    def __init__(self, cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int):
        solver = cfg.SOLVER
        self.iters_per_epoch, self.delay_epochs = iters_per_epoch, solver.DELAY_EPOCHS
        self.by_epoch = solver.WARMUP_STEP != "iteration"
        # The published MMT code moves on before the first epoch, the VisDA-2020 code after it.
        self.ahead = int(solver.WARMUP_STEP == "before_epoch")
        self.warmup = (
            math.ceil(solver.WARMUP_EPOCHS) if self.by_epoch else warmup_iterations(cfg, iters_per_epoch)
        )
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.WARMUP_ITERS = self.warmup
        self.schedulers = build.build_lr_scheduler(cfg, optimizer, 1 if self.by_epoch else iters_per_epoch)
        self._optimizer = optimizer
        if self.ahead and self.warmup:
            self._move("warmup_sched")

    @property
    def rate(self) -> float:
        """The learning rate of most parameters."""
        return max(self._optimizer.param_groups, key=lambda group: len(group["params"]))["lr"]

    def after_step(self, iteration: int) -> None:
        """An iteration, counted from 0, is done."""
        if not self.by_epoch and iteration + 1 <= self.warmup:
            self._move("warmup_sched")

    def after_epoch(self, epoch: int) -> None:
        """An epoch, counted from 0, is done."""
        done = epoch + 1
        if self.by_epoch and done + self.ahead <= self.warmup:
            self._move("warmup_sched")
        position = done if self.by_epoch else done * self.iters_per_epoch
        if position >= self.warmup and done > self.delay_epochs:
            self._move("lr_sched")

    def go_to(self, epoch: int, step: int) -> None:
        """From the start of a run to where so many epochs, and iterations of the next one, are done.

        A resumed run so has the rates that its configuration asks for now, such as those of more epochs.
        """
        for done in range(epoch):
            for iteration in range(done * self.iters_per_epoch, (done + 1) * self.iters_per_epoch):
                self.after_step(iteration)
            self.after_epoch(done)
        for iteration in range(epoch * self.iters_per_epoch, epoch * self.iters_per_epoch + step):
            self.after_step(iteration)

    def _move(self, name: str) -> None:
        move_on(self.schedulers[name])


def move_on(schedule: LRScheduler, times: int = 1) -> None:
    """Move a schedule of torch's so many steps on, before the optimiser's first step, too, which torch takes
    for a mistake.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        for _ in range(times):
            schedule.step()
