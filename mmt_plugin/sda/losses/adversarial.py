"""The least-squares adversarial losses (LSGAN, Mao et al., ICCV 2017). Shapes: B batch, h x w patches."""

from torch import Tensor

REAL, FAKE = 1.0, 0.0


def adversarial_loss(verdicts: Tensor) -> Tensor:
    """How far a discriminator is from taking translations for real: mean over patches of (D(G(x)) - 1)^2.

    Args:
        verdicts: B x 1 x h x w of translated images.
    """
    return (verdicts - REAL).square().mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half the mean of (D(y) - 1)^2 over real and of D(G(x))^2 over translated patches.

    Args:
        real: verdicts of real images, B x 1 x h x w.
        fake: verdicts of translated images, of any number.
    """
    return 0.5 * ((real - REAL).square().mean() + (fake - FAKE).square().mean())
