"""The keys that came last. Shapes: D feature size, Q queue length."""

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from torch import Tensor, nn


def queue_size(cfg: CfgNode) -> int:
    """Q: MMT.MOCO.QUEUE_EPOCHS, as published, or without it MMT.MOCO.QUEUE_SIZE."""
    moco, solver = cfg.MMT.MOCO, cfg.SOLVER
    if moco.QUEUE_EPOCHS > 0:
        return int(solver.IMS_PER_BATCH * solver.ITERS_PER_EPOCH * moco.QUEUE_EPOCHS)
    return moco.QUEUE_SIZE


class KeyQueue(nn.Module):
    """First in, first out; a batch of any size is taken, and of one longer than the queue its last Q keys.

    Attributes:
        queue: Q x D, L2-normalised rows; part of the checkpoint.
        pointer: 1, the row that the next key replaces; part of the checkpoint.
    """

    def __init__(self, dim: int, size: int):
        """
        Args:
            dim: D.
            size: Q.

        Raises:
            ValueError: if one of them is not positive.
        """
        super().__init__()
        if dim < 1 or size < 1:
            raise ValueError(f"a queue of {size} keys of {dim} values: both must be positive")
        self.register_buffer("queue", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Let keys, any number x D, replace the oldest ones, in place."""
        size = len(self.queue)
        skipped = max(0, len(keys) - size)
        rows = torch.arange(skipped, len(keys), device=keys.device)
        self.queue.index_copy_(0, (self.pointer + rows) % size, keys[skipped:].to(self.queue.dtype))
        self.pointer.copy_((self.pointer + len(keys)) % size)
