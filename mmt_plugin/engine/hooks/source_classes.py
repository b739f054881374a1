"""The source classes of a joint label space at the start of a run. Shapes: S classes, D feature size."""

import logging

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase
from torch import Tensor

from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.dataset import Item
from mmt_plugin.data.items import dense_ids
from mmt_plugin.data.unreadable import TooManyUnreadableError
from mmt_plugin.engine.features import extract_features
from mmt_plugin.modeling.layers import SOURCE
from mmt_plugin.pseudo_labels import PseudoLabels
from mmt_plugin.weights.load_network import CLASSIFIER, CheckpointError, network_weights

logger = logging.getLogger("fastreid.mmt")


class SourceClassesHook(HookBase):
    """Give the classifiers their source rows before the first epoch, as MMT.JOINT.ROWS says.

    From then on they are trained like any other weight; a resumed run finds them in its checkpoint.
    """

    def __init__(self, cfg: CfgNode, items: list[Item], num_target: int):
        """
        Args:
            cfg: the run's configuration.
            items: the source's training images.
            num_target: training images of the target. The published classifier has a row for each of them
                behind the source's, which random rows are drawn as a part of.
        """
        self.cfg, self.items, self.num_target = cfg, items, num_target
        self.labels = dense_ids([item[1] for item in items])

    def before_train(self) -> None:
        if self.trainer.start_iter > 0:
            return
        model, num_classes = self.trainer.raw_model, int(self.labels.max()) + 1
        rows = self.cfg.MMT.JOINT.ROWS
        if self.cfg.MMT.CLASSIFIER != "weights":
            model.reset_memories(torch.arange(num_classes), F.normalize(self._rows_of_memories(), dim=2))
        elif rows == "random":
            for student in model.students:
                student.heads.set_num_classes(num_classes, among=num_classes + self.num_target)
            model.copy_students_to_teachers()
        elif rows == "centroids":
            model.set_classifiers(centroids_of(self.labels, self._features().mean(dim=0)), num_classes)
        else:
            for student, weights in zip(model.students, self._pretrained(), strict=True):
                student.heads.set_classifier(weights)
            model.copy_students_to_teachers()
        logger.info(f"Joint label space: classes 0 to {num_classes - 1} are the source's ({rows} rows)")

    def _rows_of_memories(self) -> Tensor:
        """V x S x D, of each pair its own."""
        model, rows = self.trainer.raw_model, self.cfg.MMT.JOINT.ROWS
        if rows == "random":
            size = model.students[0].heads.weight.shape[1]
            return torch.randn(1, int(self.labels.max()) + 1, size).expand(len(model.students), -1, -1)
        if rows == "centroids":
            return torch.stack([centroids_of(self.labels, features) for features in self._features()])
        return torch.stack(self._pretrained())

    def _features(self) -> Tensor:
        """Features of the source's images, V x N x D, of every inference network."""
        return extract_features(self.trainer.raw_model, build_extraction_loader(self.cfg, self.items), SOURCE)

    def _pretrained(self) -> list[Tensor]:
        """S x D of each pair: the classifier that its source model was trained with."""
        if not self.cfg.MMT.WEIGHTS:
            raise CheckpointError("MMT.JOINT.ROWS is 'pretrained', but MMT.WEIGHTS names no source models")
        return [self._classifier(path) for path in self.cfg.MMT.WEIGHTS]

    def _classifier(self, path: str) -> Tensor:
        student, classes = self.trainer.raw_model.students[0], int(self.labels.max()) + 1
        rows, width = network_weights(path, student).get(CLASSIFIER), student.heads.weight.shape[1]
        if rows is None or rows.shape != (classes, width):
            found = "no classifier" if rows is None else f"a classifier of {tuple(rows.shape)}"
            raise CheckpointError(
                f"checkpoint {path!r} holds {found}, {(classes, width)} is needed for the {classes} "
                f"identities of {', '.join(self.cfg.DATASETS.NAMES)}: choose another MMT.JOINT.ROWS"
            )
        return rows


def centroids_of(labels: np.ndarray, features: Tensor) -> Tensor:
    """S x D: the L2-normalised mean feature of each identity.

    Args:
        labels: N class indices, dense from 0.
        features: N x D; NaN for an image that could not be read, which does not count.

    Raises:
        TooManyUnreadableError: no image of an identity can be read.
    """
    readable = ~features.isnan().any(dim=1).numpy()
    lost = np.setdiff1d(labels, labels[readable])
    if len(lost):
        raise TooManyUnreadableError(
            f"of {len(lost)} identities of the source no image can be read: mend the images, or take them out"
        )
    normalised = F.normalize(features.nan_to_num(), dim=1).numpy()
    return torch.from_numpy(PseudoLabels.from_features(np.where(readable, labels, -1), normalised).centroids)
