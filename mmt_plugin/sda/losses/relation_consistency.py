"""Relation consistency: translated people are as near to each other as they were. Shapes: B batch, D size."""

from torch import Tensor

from mmt_plugin.modeling.losses import soft_softmax_triplet_loss


def relation_consistency_loss(translated: Tensor, source: Tensor, targets: Tensor) -> Tensor:
    """L_rc of SDA (report, Eq. 6): mean binary cross-entropy between T(f^s) and T(f^{s->t}).

    T is the softmax over an image's distances to its hardest positive and negative. As in the published
    code, the pairs are mined on the translated features, the source's distances are read at the same pairs,
    and features are those of the BNNeck, not normalised.

    Args:
        translated: f^{s->t} = F^t(G(x)), B x D; receives the gradient.
        source: f^s = F^s(x), B x D; receives none.
        targets: B source identities.

    Raises:
        ValueError: if the shapes do not fit or the batch holds a single identity.
    """
    return soft_softmax_triplet_loss(translated, source, targets)
