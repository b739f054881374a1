"""What keeps people recognisable while their images change style: relation consistency (SDA), self-similarity
(SPGAN). Shapes: B batch, D feature size.
"""

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from mmt_plugin.modeling.collectives import gather_batch

from .encoder import FrozenEncoder, build_encoder
from .losses import generator_similarity_loss, network_similarity_loss, relation_consistency_loss
from .sianet import SimilarityNetwork
from .translated_batch import Translation


class RelationConsistency(nn.Module):
    """Two frozen encoders, F^s for source images and F^t for their translations (report, Eq. 6)."""

    def __init__(self, source: FrozenEncoder, target: FrozenEncoder, weight: float):
        """
        Args:
            source, target: F^s and F^t.
            weight: lambda_rc; 0 computes nothing.
        """
        super().__init__()
        self.source, self.target = source, target
        self.weight = weight

    def forward(self, images: Translation, identities: Tensor, epoch: int) -> dict[str, Tensor]:
        """The generators' loss; triplets are mined in the whole batch, that of all processes together.

        Args:
            images: of this process.
            identities: of its source images, B.
            epoch: not used.
        """
        if self.weight == 0:
            return {}
        with torch.no_grad():
            before = self.source(images.source)
        after = self.target(images.fake_target)
        loss = relation_consistency_loss(
            gather_batch(after.float()), gather_batch(before.float()), gather_batch(identities)
        )
        return {"loss_relation": self.weight * loss}


class SelfSimilarity(nn.Module):
    """SPGAN's similarity network, which learns beside the generators (Deng et al., CVPR 2018)."""

    def __init__(self, network: SimilarityNetwork, weight: float, margin: float, start_epoch: int):
        """
        Args:
            network: embeds images of either domain.
            weight: of the generators' loss.
            margin: m of the contrastive loss.
            start_epoch: the first, from 0, in which the generators feel it.
        """
        super().__init__()
        self.network = network
        self.weight, self.margin, self.start_epoch = weight, margin, start_epoch

    def forward(self, images: Translation, identities: Tensor, epoch: int) -> dict[str, Tensor]:
        """The generators' loss, from `start_epoch` on. Identities are not looked at."""
        if epoch < self.start_epoch or self.weight == 0:
            return {}
        loss = generator_similarity_loss(*self._embed(images), self.margin)
        return {"loss_self_similarity": self.weight * loss}

    def network_losses(self, images: Translation) -> dict[str, Tensor]:
        """What the network learns from; the translations get no gradient."""
        return {"loss_similarity_network": network_similarity_loss(*self._embed(images, True), self.margin)}

    def _embed(self, images: Translation, detached: bool = False) -> list[Tensor]:
        fakes = (images.fake_source, images.fake_target)
        batch = torch.cat([images.source, images.target, *(x.detach() if detached else x for x in fakes)])
        return list(self.network(batch).float().chunk(4))


def build_regularizer(cfg: CfgNode) -> RelationConsistency | SelfSimilarity:
    """The one that SDA.METHOD names."""
    if cfg.SDA.METHOD == "spgan":
        similarity = cfg.SDA.SELF_SIMILARITY
        network = SimilarityNetwork(cfg.SDA.DISCRIMINATOR.WIDTH)
        return SelfSimilarity(network, similarity.WEIGHT, similarity.MARGIN, similarity.START_EPOCH)
    return RelationConsistency(build_encoder(cfg), build_encoder(cfg), cfg.SDA.RELATION_WEIGHT)
