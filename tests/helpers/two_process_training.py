"""What each process of `test_two_processes.py` does; a module, so that the processes can find it."""

from pathlib import Path

import torch
from fastreid.utils import comm
from torch import nn

from mmt_plugin import data
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.pipeline import train
from mmt_plugin.modeling.collectives import gather_batch
from mmt_plugin.modeling.layers import convert_batch_norm

SYNC_BATCH = 8  # of both processes together


def train_and_report(configs: list) -> None:
    """Train each config, and write what this rank ends with to its OUTPUT_DIR/rank<i>.pth."""
    for cfg in configs:
        data.configure(cfg)
        kept = {}
        report = MMTTrainer.after_train

        def after_train(self, kept=kept, report=report):
            report(self)
            kept["labels"] = torch.as_tensor(self.label_hook.labels.labels)
            kept["model"] = {name: value.clone() for name, value in self.raw_model.state_dict().items()}

        MMTTrainer.after_train = after_train
        try:
            kept["metrics"] = {name: float(value) for name, value in train(cfg, resume=False).items()}
        finally:
            MMTTrainer.after_train = report
        torch.save(kept, Path(cfg.OUTPUT_DIR, f"rank{comm.get_rank()}.pth"))


def synchronise_and_report(folder: str) -> None:
    """Normalise and gather this rank's half of a batch, and write outputs and gradients to rank<i>.pth."""
    rank, size = comm.get_rank(), comm.get_world_size()
    reports = []
    for chunk in (0, SYNC_BATCH):
        norm = convert_batch_norm(sync_norm(), chunk=chunk)
        x = sync_images().chunk(size)[rank].clone().requires_grad_()
        weights = sync_images(seed=1).chunk(size)[rank]
        (norm(x) * weights).sum().backward()
        norm.weight.grad = sum(comm.all_gather(norm.weight.grad))
        reports.append({"gradient": x.grad, "weight": norm.weight.grad, "variance": norm.running_var.clone()})
    x = sync_images().chunk(size)[rank].clone().requires_grad_()
    gathered = gather_batch(x)
    (gathered * sync_images(seed=1)).sum().backward()
    reports.append({"gathered": gathered.detach(), "gradient": x.grad})
    torch.save(reports, Path(folder, f"rank{rank}.pth"))


def sync_norm() -> nn.Module:
    """A synchronised layer whose weights differ from channel to channel."""
    norm = nn.SyncBatchNorm(3)
    norm.weight.data.copy_(torch.tensor([0.5, 1.0, 2.0]))
    return norm


def sync_images(seed: int = 0) -> torch.Tensor:
    """The whole batch."""
    return torch.randn(SYNC_BATCH, 3, 4, 2, generator=torch.Generator().manual_seed(seed))
