"""One training step, and what happens when its numbers are not finite."""

import logging
import time
from collections.abc import Iterable

import torch
import torch.distributed as dist
from fastreid.config import CfgNode
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from torch import Tensor, nn

from mmt_plugin.data.build import LabelledLoader
from mmt_plugin.host.training import cpu_has_bfloat16

logger = logging.getLogger("fastreid.mmt")


class NotFiniteError(FloatingPointError):
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

    def begin_epoch(self, epoch: int) -> None:
        """Count the skipped steps of an epoch from zero."""
        self.epoch, self.bad_steps = epoch, 0
        if self.limit:
            self._record()

    def run_step(self) -> None:
        """Train on the next batch.

        Raises:
            NotFiniteError: a loss or gradient is not finite and must not be skipped, in any process.
        """
        batch, data_time = self.next_batch()
        buffers = self.copy_of_buffers()
        with self.autocast():
            losses = self.model(batch)
        self.last_was_skipped = not self.update(losses, self.optimizer, self.model, batch, buffers)
        if not self.last_was_skipped:
            self._write_metrics(losses, data_time)

    def next_batch(self) -> tuple[dict, float]:
        """The next batch, and the seconds that it took."""
        start = time.perf_counter()
        return next(self._data_loader_iter), time.perf_counter() - start

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
    ) -> bool:
        """Backward and one step of an optimiser, unless a number is not finite, in any process.

        Args:
            losses: weighted scalars.
            optimizer: of the module's parameters.
            module: what is trained.
            batch: what the losses are of.
            buffers: of `copy_of_buffers`, restored if the step is skipped.

        Returns:
            Whether the step was taken.

        Raises:
            NotFiniteError: it must not be skipped.
        """
        total = sum(losses.values())
        problem = None if torch.isfinite(total.detach()) else not_finite([*losses.items(), ("loss", total)])
        optimizer.zero_grad()
        if not _anywhere(problem, self.device_type):
            (total if self.grad_scaler is None else self.grad_scaler.scale(total)).backward()
            self.share_gradients(module)
            # A scaler meets overflowing gradients by itself: it skips the step and lowers its scale.
            problem = None if self.grad_scaler else _bad_gradient(module)
        if _anywhere(problem, self.device_type):
            optimizer.zero_grad()
            self._reject(problem or "a number of another process", batch, buffers)
            return False
        if self.grad_scaler is None:
            optimizer.step()
        else:
            self.grad_scaler.step(optimizer)
            self.grad_scaler.update()
        return True

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
                "SOLVER.ON_BAD_STEP to 'skip'"
            )
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        logger.warning(f"{where}: step skipped ({self.bad_steps} of at most {self.limit} in this epoch)")
        self._record()

    def _record(self) -> None:
        get_event_storage().put_scalar("skipped_steps", self.bad_steps, smoothing_hint=False)


def not_finite(values: Iterable[tuple[str, Tensor]]) -> str | None:
    """The first name whose value is NaN or infinite, with that value; None where all are finite."""
    for name, value in values:
        if not torch.isfinite(value.detach()).all():
            return f"{name} is {value.item()}"
    return None


def _bad_gradient(module: nn.Module) -> str | None:
    named = [(name, p.grad) for name, p in module.named_parameters() if p.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient) for _, gradient in named])
    if torch.isfinite(norms).all():
        return None
    return not_finite((f"gradient of {name}", norm) for (name, _), norm in zip(named, norms, strict=True))


def _anywhere(problem: str | None, device_type: str) -> bool:
    """Whether any process has a problem: all take the step or none does."""
    if comm.get_world_size() == 1:
        return problem is not None
    device = torch.device(device_type, comm.get_local_rank()) if device_type == "cuda" else "cpu"
    flag = torch.tensor(int(problem is not None), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)
