"""Instance discrimination against a queue of keys. Shapes: B batch, D feature size, Q queue length."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from mmt_plugin.modeling.collectives import gather_batch


class MoCoQueue(nn.Module):
    """MoCo's contrastive loss and its queue of keys (He et al., CVPR 2020; MMT+ report, Eq. 11).

    A query is to be nearer to its own key than to the Q keys that came before. The queue is first in, first
    out; a batch of any size is taken, and of one longer than the queue its last Q keys.

    Attributes:
        queue: Q x D, L2-normalised rows; part of the checkpoint.
        pointer: 1, the row that the next key replaces; part of the checkpoint.
    """

    def __init__(self, dim: int, size: int, temperature: float = 0.07):
        """
        Args:
            dim: D.
            size: Q.
            temperature: tau; 0.07 in the published code, 0.7 in the report.

        Raises:
            ValueError: if any of them is not positive.
        """
        super().__init__()
        if dim < 1 or size < 1 or temperature <= 0:
            raise ValueError(
                f"a queue of {size} keys of {dim} values at temperature {temperature}: all must be positive"
            )
        self.temperature = temperature
        self.register_buffer("queue", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """The loss against the queue as it stands; the keys of all ranks enter the queue afterwards.

        Args:
            query: B x D, of any norm; receives the gradient.
            key: B x D, of any norm, of the same images in the same order; receives none.

        Returns:
            Scalar mean over the batch.

        Raises:
            ValueError: if the shapes do not fit.
        """
        if query.shape != key.shape or query.dim() != 2 or query.shape[1] != self.queue.shape[1]:
            raise ValueError(
                f"expected query and key B x {self.queue.shape[1]}, got {tuple(query.shape)} and "
                f"{tuple(key.shape)}"
            )
        query = F.normalize(query.float(), dim=1)
        key = F.normalize(key.detach().float(), dim=1)
        loss = _Contrast.apply(query, key, self.queue, self.temperature)
        self.enqueue(gather_batch(key))
        return loss

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Let keys, any number x D, replace the oldest ones, in place."""
        size = len(self.queue)
        skipped = max(0, len(keys) - size)
        rows = torch.arange(skipped, len(keys), device=keys.device)
        self.queue.index_copy_(0, (self.pointer + rows) % size, keys[skipped:].to(self.queue.dtype))
        self.pointer.copy_((self.pointer + len(keys)) % size)


class _Contrast(Function):
    """Cross-entropy of the own key among the queue's, with its gradient worked out in the forward pass.

    Autograd would keep the queue for the backward pass, which is why it could not be written to before then
    without being copied first: 100 MB a step and network at the published size.
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
        positive = (query * key).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, query @ queue.t()], dim=1) / temperature
        log_probabilities = logits.log_softmax(dim=1)
        if ctx.needs_input_grad[0]:
            probabilities = log_probabilities.exp()
            gradient = (probabilities[:, :1] - 1) * key + probabilities[:, 1:] @ queue
            ctx.save_for_backward(gradient / (temperature * len(query)))
        return -log_probabilities[:, 0].mean()

    @staticmethod
    def backward(ctx, upstream: Tensor):
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None
