"""The source classes of a joint label space at the start of a run. Shapes: S classes, D feature size."""

import logging

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase
from torch import Tensor

from mmt_plugin.data.build import build_extraction_loader, dense_ids
from mmt_plugin.data.dataset import Item
from mmt_plugin.engine.features import extract_features
from mmt_plugin.modeling.layers import SOURCE
from mmt_plugin.pseudo_labels import PseudoLabels
from mmt_plugin.weights.network import CLASSIFIER, CheckpointError, network_weights

logger = logging.getLogger("fastreid.mmt")


class SourceClassesHook(HookBase):
    """Give the classifiers their source rows before the first epoch, as MMT.JOINT.ROWS says.

    From then on they are trained like any other weight; a resumed run finds them in its checkpoint.
    """

    def __init__(self, cfg: CfgNode, items: list[Item]):
        self.cfg, self.items = cfg, items
        self.labels = dense_ids([item[1] for item in items])

    def before_train(self) -> None:
        if self.trainer.start_iter > 0:
            return
        model, num_classes = self.trainer.raw_model, int(self.labels.max()) + 1
        rows = self.cfg.MMT.JOINT.ROWS
        if rows == "random":
            model.set_classifiers(None, num_classes)
        elif rows == "centroids":
            model.set_classifiers(self._centroids(), num_classes)
        elif not self.cfg.MMT.WEIGHTS:
            raise CheckpointError("MMT.JOINT.ROWS is 'pretrained', but MMT.WEIGHTS names no source models")
        else:
            for student, path in zip(model.students, self.cfg.MMT.WEIGHTS, strict=True):
                student.heads.set_classifier(self._pretrained(path))
            model.copy_students_to_teachers()
        logger.info(f"Joint label space: classes 0 to {num_classes - 1} are the source's ({rows} rows)")

    def _centroids(self) -> Tensor:
        """S x D: the L2-normalised mean feature of each identity, of the inference networks together."""
        loader = build_extraction_loader(self.cfg, self.items)
        features = extract_features(self.trainer.raw_model, loader, SOURCE).mean(dim=0)
        normalised = F.normalize(features, dim=1).numpy()
        return torch.from_numpy(PseudoLabels.from_features(self.labels, normalised).centroids)

    def _pretrained(self, path: str) -> Tensor:
        """S x D: the classifier that a source model was trained with."""
        rows, classes = network_weights(path).get(CLASSIFIER), int(self.labels.max()) + 1
        width = self.trainer.raw_model.students[0].heads.weight.shape[1]
        if rows is None or rows.shape != (classes, width):
            found = "no classifier" if rows is None else f"a classifier of {tuple(rows.shape)}"
            raise CheckpointError(
                f"checkpoint {path!r} holds {found}, {(classes, width)} is needed for the {classes} "
                f"identities of {', '.join(self.cfg.DATASETS.NAMES)}: choose another MMT.JOINT.ROWS"
            )
        return rows
