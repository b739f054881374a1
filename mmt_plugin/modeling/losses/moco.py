"""Instance discrimination against a queue of keys. Shapes: B batch, D feature size, Q queue length."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


def moco_loss(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """MoCo's contrastive loss (He et al., CVPR 2020; MMT+ report, Eq. 11): a query is to be nearer to its own
    key than to the Q keys that came before.

    Args:
        query: B x D, of any norm; receives the gradient.
        key: B x D, of any norm, of the same images in the same order; receives none.
        queue: Q x D, L2-normalised; may be written to before the backward pass.
        temperature: tau; 0.07 in the published code, 0.7 in the report.

    Returns:
        Scalar mean over the batch.

    Raises:
        ValueError: if the shapes do not fit, or the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}: it must be positive")
    if query.shape != key.shape or query.dim() != 2 or query.shape[1] != queue.shape[1]:
        raise ValueError(
            f"expected query and key B x {queue.shape[1]}, got {tuple(query.shape)} and {tuple(key.shape)}"
        )
    return _Contrast.apply(
        F.normalize(query.float(), dim=1), F.normalize(key.detach().float(), dim=1), queue, temperature
    )


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
