"""What every trainer of the plugin shares: runs that can be stopped at any iteration and resumed to the
bit.
"""

from collections.abc import Sequence

import numpy as np
import torch
from fastreid.engine import DefaultTrainer, hooks
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng
from fastreid.utils.events import EventWriter
from torch import nn

from mmt_plugin.data.dataset import Item
from mmt_plugin.report.wandb_writer import WandbWriter
from mmt_plugin.runs.record import record_recipe
from mmt_plugin.system.memory import keep_freed_memory
from mmt_plugin.weights.load_network import CheckpointError

from .checkpointer import refuse_overwriting
from .run_state import RunState
from .stopping import StopHook


class ResumableTrainer(DefaultTrainer):
    """fastreid's trainer, made so that a run that was interrupted ends as if it had not been.

    All randomness is derived from SEED and the epoch, and its state within an epoch is part of the
    checkpoint.

    A subclass sets ``cfg``, ``_trainer`` (a `TrainingStep` or the like, over a loader with `epoch(epoch,
    start)`), ``iters_per_epoch`` and ``checkpointer``, then calls `prepare_run`, and says in `build_hooks`
    what goes on around the steps.
    """

    def prepare_run(
        self, items: list[Item], allow_change: Sequence[str] = (), told_keys: Sequence[str] = ()
    ) -> None:
        """Set counters, hooks and what checkpoints hold of them.

        Args:
            items: the training images, for which a resumed run must be the same.
            allow_change: keys that may have another value than the run was started with.
            told_keys: keys that always may, but whose change is recorded: SOLVER.MAX_EPOCH, where the
                learning rate of the epochs that are done depends on it.
        """
        cfg = self.cfg
        keep_freed_memory(self.raw_model.device)
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
        self.start_epoch, self.start_step, self.max_epoch = 0, 0, cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.stop = StopHook()
        writers = self.build_writers() if comm.is_main_process() else []
        self.run_state = RunState(cfg, items, writers, allow_change, told_keys)
        self.register_hooks(self.build_hooks(writers))
        stateful = {type(hook).__name__: hook for hook in self._hooks if hasattr(hook, "state_dict")}
        if self.grad_scaler is not None:
            stateful["grad_scaler"] = self.grad_scaler
        self.checkpointer.checkpointables.update(stateful)

    def build_writers(self) -> list[EventWriter]:
        """fastreid's writers (screen, metrics.json, TensorBoard), and that of REPORT.WANDB_PROJECT."""
        writers = super().build_writers()
        return [*writers, WandbWriter(self.cfg)] if self.cfg.REPORT.WANDB_PROJECT else writers

    @property
    def raw_model(self) -> nn.Module:
        """The model without its wrapper for several processes."""
        return getattr(self.model, "module", self.model)

    @property
    def step_was_skipped(self) -> bool:
        """Whether the last iteration changed nothing, because its numbers were not finite."""
        return self._trainer.last_was_skipped

    @property
    def steps_done(self) -> int:
        """Iterations of the current epoch that are done."""
        return self.iter - self.epoch * self.iters_per_epoch

    def build_hooks(self, writers: list[EventWriter]) -> list[hooks.HookBase]:
        """The run's hooks, in order; `run_state` and, last, `stop` among them."""
        raise NotImplementedError

    def start_from_weights(self) -> None:
        """Give a new run's model the weights that it starts from."""
        raise NotImplementedError

    def gather_state(self) -> None:
        """Let rank 0, which alone writes checkpoints, know what the other ranks' hooks do; called by all."""
        for hook in self._hooks:
            if hasattr(hook, "gather"):
                hook.gather()

    def go_to(self, epoch: int, step: int) -> None:
        """Set what follows from the configuration and the position in the run, in finished epochs and steps
        of the next one.
        """
        raise NotImplementedError

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from OUTPUT_DIR's last checkpoint, or start anew.

        Raises:
            CheckpointError: if the folder holds a run and ``resume`` is False, if weights do not fit, or if
                more epochs are done than are asked for.
        """
        if not resume:
            refuse_overwriting(self.cfg.OUTPUT_DIR)
        if self.checkpointer.has_checkpoint():
            checkpoint = self.checkpointer.load(self.checkpointer.get_checkpoint_file())
            self.start_epoch, self.start_step = checkpoint["epoch"] + 1, checkpoint.get("step", 0)
            self._check_length()
            self.go_to(self.start_epoch, self.start_step)
            self.run_state.changed_at(self.start_epoch * self.iters_per_epoch + self.start_step)
        else:
            self.run_state.start_anew()
            self.start_from_weights()

    def _check_length(self) -> None:
        if (self.start_epoch, self.start_step) > (self.max_epoch, 0):
            raise CheckpointError(
                f"the run to be resumed has trained {self.start_epoch} epochs and {self.start_step} "
                f"iterations; SOLVER.MAX_EPOCH is {self.max_epoch}: give at least "
                f"{self.start_epoch + (self.start_step > 0)}, or choose another OUTPUT_DIR"
            )

    def begin_record(self) -> None:
        """Let the folder say what is trained there from now on: its config.yaml, and, where a finished run
        goes on, that it is not finished.
        """
        if comm.is_main_process() and self.start_epoch < self.max_epoch:
            self.checkpointer.reopen(self.start_epoch - 1)
        record_recipe(self.cfg)

    def train(self) -> dict | None:
        """Train; a run that is asked to stop (Ctrl-C, SIGTERM) writes a checkpoint first.

        Raises:
            Stopped: it was asked to.
        """
        with self.stop.listening():
            return super().train()

    def before_epoch(self) -> None:
        seed_all_rng(int(np.random.SeedSequence([self.cfg.SEED, self.epoch]).generate_state(1)[0]))
        super().before_epoch()
        self._trainer.model = self._distribute(self.raw_model)
        self._trainer.begin_epoch(self.epoch, self.steps_done)
        batches = self.data_loader.epoch(self.epoch, self.steps_done)
        self._trainer._data_loader_iter = self.stop.until_stopped(batches)
        if self.steps_done:
            self.run_state.restore_generators()

    def _distribute(self, model: nn.Module) -> nn.Module:
        """Wrap for several processes, anew in every epoch; by default as it is."""
        return model

    def close(self) -> None:
        """End the loaders' worker processes."""
        self.data_loader.close()
