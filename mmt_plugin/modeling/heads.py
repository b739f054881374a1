"""Embedding head whose classifier rows follow the live classes. Shapes: B batch, D feature size, C live
classes.
"""

import math

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.layers import any_softmax
from fastreid.modeling.heads import REID_HEADS_REGISTRY, EmbeddingHead
from torch import Tensor, nn

# Standard deviation of a fresh linear classifier's weights (published MMT code; fastreid's heads: 0.01).
CLASSIFIER_STD = 0.001


@REID_HEADS_REGISTRY.register()
class ClusterHead(EmbeddingHead):
    """fastreid's pooling + BNNeck + classifier, where the classifier has exactly one row per live class.

    Clusters come and go with every label update, so rows are replaced rather than allocated once for every
    image: memory, time and weight decay touch live classes only.
    """

    @configurable
    def __init__(self, *, dropout: float, **kwargs):
        """
        Args:
            dropout: probability of zeroing an entry of the BNNeck feature before the classifier, in training.
            kwargs: those of fastreid's EmbeddingHead.
        """
        super().__init__(**kwargs)
        self.dropout = nn.Dropout(dropout)
        self._initialise(self.weight.data, len(self.weight))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {**super().from_config(cfg), "dropout": cfg.MODEL.HEADS.DROPOUT}

    @property
    def num_classes(self) -> int:
        return self.weight.shape[0]

    def set_num_classes(self, num_classes: int, among: int | None = None) -> None:
        """Start over with a freshly initialised classifier of C rows.

        Args:
            num_classes: C.
            among: rows of the classifier that these are a part of, on which the size of a margin classifier's
                fresh weights depends; by default C.
        """
        rows = torch.empty(num_classes, self.weight.shape[1])
        self.set_classifier(self._initialise(rows, among or num_classes))

    def set_classifier(self, rows: Tensor) -> None:
        """Replace the classifier by the given rows, C x D.

        The parameter keeps its identity, so an optimiser that holds it goes on training it; the optimiser's
        state of the old rows is the caller's to drop.
        """
        self.weight.data = rows.to(self.weight.device, self.weight.dtype).clone()
        self.weight.grad = None
        self.cls_layer.num_classes = len(rows)

    def forward(self, features: Tensor, targets: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Pool and classify a batch of feature maps.

        Args:
            features: B x D x H x W, of the backbone.
            targets: B class indices, for margin classifiers; without them no margin is applied.

        Returns:
            In evaluation the BNNeck feature, B x D, not normalised. In training a dict of ``features`` (B x
            D, pooled, before the BNNeck unless MODEL.HEADS.NECK_FEAT is "after"), ``embeddings`` (B x D, what
            is classified: the BNNeck feature after dropout) and ``logits`` (B x C).
        """
        pooled, neck = self.embed(features)
        if not self.training:
            return neck
        embeddings = self.dropout(neck)
        return {
            "features": pooled if self.neck_feat == "before" else neck,
            "embeddings": embeddings,
            "logits": self._classify(embeddings, targets),
        }

    def embed(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled and BNNeck features, both B x D, of feature maps B x D x H x W."""
        pooled = self.pool_layer(features)
        return pooled[..., 0, 0], self.bottleneck(pooled)[..., 0, 0]

    @property
    def _has_margin(self) -> bool:
        return type(self.cls_layer) is not any_softmax.Linear

    def _initialise(self, rows: Tensor, among: int) -> Tensor:
        """Fresh rows, as the published codes have them for either kind of classifier, in place."""
        if self._has_margin:  # Xavier's uniform distribution, of a matrix with so many rows
            bound = math.sqrt(3) * math.sqrt(2 / (rows.shape[1] + among))
            return nn.init.uniform_(rows, -bound, bound)
        return nn.init.normal_(rows, std=CLASSIFIER_STD)

    def _classify(self, embeddings: Tensor, targets: Tensor | None) -> Tensor:
        if not self._has_margin:
            return F.linear(embeddings, self.weight) * self.cls_layer.s
        cosine = F.linear(F.normalize(embeddings), F.normalize(self.weight))
        if targets is None:
            return cosine * self.cls_layer.s
        # The host's classification layers work in place.
        return self.cls_layer(cosine.clone(), targets)
