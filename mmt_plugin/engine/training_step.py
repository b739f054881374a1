"""One training step, and what happens when its numbers are not finite."""

import logging
import time

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from torch import Tensor, nn

from mmt_plugin.data.build import LabelledLoader
from mmt_plugin.errors import UserError
from mmt_plugin.modeling.collectives import gather_batch
from mmt_plugin.system.devices import cpu_has_bfloat16

logger = logging.getLogger("fastreid.mmt")


class NotFiniteError(UserError, FloatingPointError):
    """A loss or gradient is NaN or infinite; the message says which, when, and on which images."""


class TrainingStep(SimpleTrainer):
    """fastreid's forward, backward and optimiser step, in mixed precision where SOLVER.AMP says so, that
    never lets a number that is not finite reach the weights.

    With SOLVER.ON_BAD_STEP "error" such a step ends the run. With "skip" it is undone, batch statistics and
    all, and counted; more than SOLVER.MAX_BAD_STEPS of them in one epoch end the run after all.
    """

    def __init__(
        self, cfg: CfgNode, model: nn.Module, loader: LabelledLoader, optimizer: torch.optim.Optimizer
    ):
        super().__init__(model, loader, optimizer, None)
        self.device_type = next(model.parameters()).device.type
        on_gpu = self.device_type == "cuda"
        self.mixed_precision = cfg.SOLVER.AMP.ENABLED and (on_gpu or cpu_has_bfloat16())
        self.grad_scaler = torch.amp.GradScaler("cuda") if self.mixed_precision and on_gpu else None
        self.limit = cfg.SOLVER.MAX_BAD_STEPS if cfg.SOLVER.ON_BAD_STEP == "skip" else 0
        self.bad_steps = 0
        self.last_was_skipped = False

    def begin_epoch(self, epoch: int, steps_done: int) -> None:
        """Count the skipped steps of an epoch: from zero, or from those of the steps that are done."""
        self.epoch, self.bad_steps, self._is_first = epoch, 0, steps_done == 0
        if self.limit and steps_done:
            recorded, _ = get_event_storage().latest().get("skipped_steps", (0, -1))
            self.bad_steps = int(recorded)
        elif self.limit:
            self._record_skipped()

    def run_step(self) -> None:
        """Train on the next batch.

        Raises:
            NotFiniteError: a loss or gradient is not finite and must not be skipped, in any process.
        """
        batch = self.next_batch()
        buffers = self.copy_of_buffers()
        with self.autocast():
            losses = self.model(batch)
        values = self.update(losses, self.optimizer, self.model, batch, buffers)
        self.last_was_skipped = values is None
        if values is not None:
            self.record(values)

    def next_batch(self) -> dict:
        """The next batch; the seconds that it took are kept for the record, those of an epoch's first batch
        apart: it starts the loader.
        """
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        self.data_time = time.perf_counter() - start
        if self._is_first:
            self._is_first = False
            get_event_storage().put_scalar("first_batch_seconds", self.data_time, smoothing_hint=False)
        return batch

    def copy_of_buffers(self) -> list[Tensor]:
        """The model's buffers as they are, for `update` to go back to; empty where no step may be skipped."""
        return [buffer.clone() for buffer in self.model.buffers()] if self.limit else []

    def autocast(self) -> torch.autocast:
        """Mixed precision for what is done inside, where the run has it."""
        return torch.autocast(self.device_type, enabled=self.mixed_precision)

    def update(
        self,
        losses: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        module: nn.Module,
        batch: dict,
        buffers: list[Tensor],
    ) -> dict[str, float] | None:
        """Backward and one step of an optimiser, unless a number is not finite, in any process.

        Args:
            losses: weighted scalars.
            optimizer: of the module's parameters.
            module: what is trained.
            batch: what the losses are of.
            buffers: of `copy_of_buffers`, restored if the step is skipped.

        Returns:
            The losses, averaged over processes, and ``data_time``, the longest of any; None if the step was
            skipped.

        Raises:
            NotFiniteError: it must not be skipped.
        """
        total = sum(losses.values())
        optimizer.zero_grad()
        (total if self.grad_scaler is None else self.grad_scaler.scale(total)).backward()
        self.share_gradients(module)
        numbers = self._numbers(losses, total, optimizer)
        if not np.isfinite(list(numbers.values())).all():
            problem = (
                _culprit({**losses, "loss": total}, module) or "a number of another process is not finite"
            )
            optimizer.zero_grad()
            self._reject(problem, batch, buffers)
            return None
        if self.grad_scaler is None:
            optimizer.step()
        else:
            self.grad_scaler.step(optimizer)
            self.grad_scaler.update()
        values = {name: np.mean(numbers[name]) for name in losses}
        return {**values, "data_time": max(numbers["data_time"])}

    def _numbers(
        self, losses: dict[str, Tensor], total: Tensor, optimizer: torch.optim.Optimizer
    ) -> dict[str, list[float]]:
        """All that is asked of a step's tensors, by name, one value a process.

        The only time in a step that the CPU waits for the device, or for other processes.
        """
        known = {**losses, "loss": total, "data_time": total.new_full((), self.data_time)}
        if self.grad_scaler is None:
            # Sums: nothing is faster, and no NaN or infinity gets lost in them. A scaler meets overflowing
            # gradients by itself: it skips the step and lowers its scale.
            trained = (parameter for group in optimizer.param_groups for parameter in group["params"])
            sums = [parameter.grad.sum() for parameter in trained if parameter.grad is not None]
            known["gradient"] = torch.stack(sums).sum()
        own = torch.stack([value.detach().float() for value in known.values()])
        return dict(zip(known, gather_batch(own[None]).t().tolist(), strict=True))

    def share_gradients(self, module: nn.Module) -> None:
        """Average gradients over processes; nothing to do here, where the model's wrapper has done so."""

    def _reject(self, problem: str, batch: dict, buffers: list[Tensor]) -> None:
        self.bad_steps += 1
        where = f"{problem} at epoch {self.epoch}, iteration {self.iter}"
        if self.bad_steps > self.limit:
            files = ", ".join(self.data_loader.paths(batch))
            many = f", after {self.limit} skipped steps in this epoch" if self.limit else ""
            raise NotFiniteError(
                f"{where}{many}. The images of the batch: {files}. The last checkpoint is from before; lower "
                "SOLVER.BASE_LR, switch SOLVER.AMP.ENABLED off, or, for single bad batches, set "
                "SOLVER.ON_BAD_STEP to 'skip', and go on with --resume --allow-change and that key's name"
            )
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        logger.warning(f"{where}: step skipped ({self.bad_steps} of at most {self.limit} in this epoch)")
        self._record_skipped()

    def record(self, values: dict[str, float]) -> None:
        """Write the losses, their sum and the time that the batch took into the event storage."""
        if comm.is_main_process():
            storage = get_event_storage()
            losses = {name: value for name, value in values.items() if name != "data_time"}
            storage.put_scalars(data_time=values["data_time"], total_loss=sum(losses.values()))
            if len(losses) > 1:
                storage.put_scalars(**losses)

    def _record_skipped(self) -> None:
        get_event_storage().put_scalar("skipped_steps", self.bad_steps, smoothing_hint=False)


def _culprit(losses: dict[str, Tensor], module: nn.Module) -> str | None:
    """The first loss or gradient that is NaN or infinite, with its value; None where all are finite."""
    for name, value in losses.items():
        if not torch.isfinite(value):
            return f"{name} is {value.item()}"
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and not torch.isfinite(norm := parameter.grad.norm()):
            return f"gradient of {name} is {norm.item()}"
    return None
