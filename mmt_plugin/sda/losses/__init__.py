"""The losses of image translation, one file each."""

from .adversarial import adversarial_loss, discriminator_loss
from .reconstruction import reconstruction_loss
from .relation_consistency import relation_consistency_loss
from .self_similarity import contrastive_loss, generator_similarity_loss, network_similarity_loss

__all__ = [
    "adversarial_loss",
    "contrastive_loss",
    "discriminator_loss",
    "generator_similarity_loss",
    "network_similarity_loss",
    "reconstruction_loss",
    "relation_consistency_loss",
]
