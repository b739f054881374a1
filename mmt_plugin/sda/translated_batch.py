"""The images of one step. Shapes: B batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Translation:
    """A batch of each domain with its translations: normalised images, each B x 3 x H x W.

    Attributes:
        source, target: real images, x^s and x^t.
        fake_target: source images in the target's style, G^{s->t}(x^s).
        fake_source: target images in the source's style.
        same_source, same_target: real images, translated into the style they have; None where they are not
        asked for.
    """

    source: Tensor
    target: Tensor
    fake_target: Tensor
    fake_source: Tensor
    same_source: Tensor | None = None
    same_target: Tensor | None = None
