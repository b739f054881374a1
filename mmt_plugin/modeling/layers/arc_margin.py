"""Additive angular margin (ArcFace, Deng et al., CVPR 2019). Shapes: B batch, C classes."""

import math

from fastreid.layers import any_softmax
from torch import Tensor


class ArcMarginSoftmax(any_softmax.Linear):
    """MODEL.HEADS.CLS_LAYER "ArcMarginSoftmax": s cos(theta + m) for the true class, s cos(theta) for others.

    fastreid's ArcSoftmax has no branch for theta + m > pi, where the cosine would rise again and reward a
    wrong answer; there, as in the published MMT+ code, cos(theta) - m sin(m) is used. The sine of an exactly
    aligned vector, of infinite gradient, is kept off zero.
    """

    def forward(self, cosine: Tensor, targets: Tensor) -> Tensor:
        """
        Args:
            cosine: B x C, of features and class weights; rounding may have lifted it beyond 1.
            targets: B class indices.

        Returns:
            Logits, B x C.
        """
        cosine = cosine.float()
        own = cosine.gather(1, targets[:, None])
        sine = (1 - own.square()).clamp(min=1e-7).sqrt()
        with_margin = own * math.cos(self.m) - sine * math.sin(self.m)
        beyond = own - self.m * math.sin(self.m)
        with_margin = with_margin.where(own > -math.cos(self.m), beyond)
        return cosine.scatter(1, targets[:, None], with_margin) * self.s


# fastreid's heads look classification layers up by name in this module; it has no registry for them.
any_softmax.ArcMarginSoftmax = ArcMarginSoftmax
