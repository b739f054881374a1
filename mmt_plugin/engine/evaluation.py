"""Evaluation of every inference network in one pass over the images, by fastreid's own evaluator."""

from collections import OrderedDict

import torch
from fastreid.config import CfgNode
from fastreid.evaluation import ReidEvaluator
from fastreid.evaluation.evaluator import DatasetEvaluator
from torch import Tensor, nn

from mmt_plugin.modeling import MutualMeanTeaching


class EachNetwork(nn.Module):
    """The model seen as all of its inference networks at once: a batch of images -> V x B x D L2-normalised
    features.
    """

    def __init__(self, model: MutualMeanTeaching):
        super().__init__()
        self.model = model

    def forward(self, batch: dict) -> Tensor:
        return self.model.extract(batch["images"])


class EachNetworkEvaluator(DatasetEvaluator):
    """One fastreid ReidEvaluator per network."""

    def __init__(self, cfg: CfgNode, num_query: int, num_networks: int):
        self.num_query = num_query
        self.evaluators = [ReidEvaluator(cfg, num_query) for _ in range(num_networks)]

    def reset(self) -> None:
        for evaluator in self.evaluators:
            evaluator.reset()

    def process(self, inputs: dict, outputs: Tensor) -> None:
        for evaluator, features in zip(self.evaluators, outputs, strict=True):
            evaluator.process(inputs, features)

    def evaluate(self) -> list[OrderedDict]:
        """Each network's metrics in percent, in network order; empty dicts away from the main process."""
        return [evaluator.evaluate() for evaluator in self.evaluators]

    def features(self, network: int) -> tuple[Tensor, Tensor]:
        """Query and gallery features, Nq x D and Ng x D, that one network gave in this process."""
        features = torch.cat([part["feats"] for part in self.evaluators[network]._predictions])
        return features[: self.num_query], features[self.num_query :]


def network_names(model: MutualMeanTeaching) -> list[str]:
    """teacher1, teacher2, ... or student1, ... in the order of the inference networks."""
    kind = "teacher" if len(model.teachers) else "student"
    return [f"{kind}{k + 1}" for k in range(len(model.inference_networks))]
