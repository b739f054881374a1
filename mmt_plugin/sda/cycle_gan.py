"""Structured domain adaptation: a CycleGAN whose translations keep the relations between people.

Shapes: B batch, H x W image size.
"""

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from mmt_plugin.modeling.collectives import gather_batch, rank_share

from .discriminator import PatchDiscriminator
from .generator import ResNetGenerator
from .losses import adversarial_loss, discriminator_loss, reconstruction_loss
from .pool import ImagePool
from .regularizers import RelationConsistency, SelfSimilarity, build_regularizer
from .translated_batch import Translation

TO_TARGET, TO_SOURCE = "to_target", "to_source"


@META_ARCH_REGISTRY.register()
class StructuredDomainAdaptation(nn.Module):
    """Two generators, two discriminators and a regulariser (Ge et al., VisDA-2020 report, Section 3.1).

    Everything after a generator sees its colours normalised like those of real images. The generator of each
    direction and the discriminator of the domain it leads to have the same name.
    """

    @configurable
    def __init__(
        self,
        *,
        generators: dict[str, ResNetGenerator],
        discriminators: dict[str, PatchDiscriminator],
        regularizer: RelationConsistency | SelfSimilarity,
        cycle_weight: float,
        identity_weight: float,
        pool_size: int,
        image_size: tuple[int, int],
        pixel_mean: list[float],
        pixel_std: list[float],
    ):
        """
        Args:
            generators: "to_target" G^{s->t} and "to_source" G^{t->s}.
            discriminators: under the same names, each for the images that the generator has to be taken for.
            regularizer: what keeps the people apart.
            cycle_weight, identity_weight: of the L1 losses; the adversarial ones have weight 1.
            pool_size: earlier translations that each discriminator goes on seeing.
            image_size: height and width of training images.
            pixel_mean: 3 channel means, of pixels in 0-255.
            pixel_std: 3 channel deviations.
        """
        super().__init__()
        self.generators = nn.ModuleDict(generators)
        self.discriminators = nn.ModuleDict(discriminators)
        self.regularizer = regularizer
        self.pools = nn.ModuleDict({name: ImagePool(pool_size, image_size) for name in generators})
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        sda = cfg.SDA
        judge = sda.DISCRIMINATOR
        return {
            "generators": {name: build_generator(cfg) for name in (TO_TARGET, TO_SOURCE)},
            "discriminators": {
                name: PatchDiscriminator(judge.WIDTH, judge.LAYERS) for name in (TO_TARGET, TO_SOURCE)
            },
            "regularizer": build_regularizer(cfg),
            "cycle_weight": sda.CYCLE_WEIGHT,
            "identity_weight": sda.IDENTITY_WEIGHT,
            "pool_size": sda.POOL_SIZE,
            "image_size": tuple(cfg.INPUT.SIZE_TRAIN),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def trained(self) -> dict[str, nn.Module]:
        """The parts that are trained, each by an optimiser of its own."""
        parts = {"generators": self.generators, "discriminators": self.discriminators}
        if isinstance(self.regularizer, SelfSimilarity):
            parts["similarity"] = self.regularizer.network
        return parts

    def forward(self, batch: dict) -> Tensor:
        """Source images, B x 3 x H x W in 0-255 under ``images`` -> the same in the target's style."""
        return self.pixels(self.apply_generator(TO_TARGET, self.normalize(batch["images"])))

    def translate(self, batch: dict) -> Translation:
        """All images that a training step needs but the reconstructions.

        Args:
            batch: ``images`` of the source and ``target_images``, both B x 3 x H x W in 0-255.
        """
        source, target = self.normalize(batch["images"]), self.normalize(batch["target_images"])
        if self.identity_weight == 0:
            fakes = self.apply_generator(TO_TARGET, source), self.apply_generator(TO_SOURCE, target)
            return Translation(source, target, *fakes)
        # Nothing in a generator mixes the images of a batch.
        fake_target, same_target = self.apply_generator(TO_TARGET, torch.cat([source, target])).chunk(2)
        fake_source, same_source = self.apply_generator(TO_SOURCE, torch.cat([target, source])).chunk(2)
        return Translation(source, target, fake_target, fake_source, same_source, same_target)

    def generator_losses(self, images: Translation, identities: Tensor, epoch: int) -> dict[str, Tensor]:
        """Weighted losses of both generators.

        Args:
            images: of `translate`.
            identities: of the source images, B.
            epoch: from 0.
        """
        judges = self.discriminators
        losses = {
            "loss_adversarial": adversarial_loss(judges[TO_TARGET](images.fake_target))
            + adversarial_loss(judges[TO_SOURCE](images.fake_source)),
            "loss_cycle": self.cycle_weight
            * (
                reconstruction_loss(self.apply_generator(TO_SOURCE, images.fake_target), images.source)
                + reconstruction_loss(self.apply_generator(TO_TARGET, images.fake_source), images.target)
            ),
        }
        if images.same_source is not None:
            losses["loss_identity"] = self.identity_weight * (
                reconstruction_loss(images.same_target, images.target)
                + reconstruction_loss(images.same_source, images.source)
            )
        return {**losses, **self.regularizer(images, identities.to(self.device), epoch)}

    def discriminator_losses(self, images: Translation) -> dict[str, Tensor]:
        """Losses of both discriminators, on translations that are new or out of the pools.

        The pools hold translations of all processes' images, and are the same in each.
        """
        real = {TO_TARGET: images.target, TO_SOURCE: images.source}
        fake = {TO_TARGET: images.fake_target, TO_SOURCE: images.fake_source}
        return {
            f"loss_discriminator_{name}": discriminator_loss(
                judge(real[name]), judge(rank_share(self.pools[name](gather_batch(fake[name].detach()))))
            )
            for name, judge in self.discriminators.items()
        }

    def apply_generator(self, name: str, images: Tensor) -> Tensor:
        """Normalised images B x 3 x H x W through one generator, normalised again."""
        return self.normalize(255 * self.generators[name](images))

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels 0-255 -> zero mean, unit deviation."""
        return (images.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std

    def pixels(self, images: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        return images * self.pixel_std + self.pixel_mean


def build_generator(cfg: CfgNode) -> ResNetGenerator:
    """A new generator of SDA.GENERATOR."""
    generator = cfg.SDA.GENERATOR
    return ResNetGenerator(generator.WIDTH, generator.BLOCKS, generator.RESIDUAL)
