"""Evaluation of a model on test sets: every inference network in one pass over the images, ranked and
measured by `mmt_plugin.retrieval`. Shapes: V networks, N images of a test set, queries first, B batch, D
feature size.
"""

import itertools
import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from fastreid.evaluation import inference_on_dataset, print_csv_format
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmt_plugin.config import ConfigError
from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.items import training_items
from mmt_plugin.modeling import MutualMeanTeaching
from mmt_plugin.modeling.layers import SOURCE, TARGET, route
from mmt_plugin.retrieval import Labels, Measured, Method, evaluate

from .features import reestimate_bn_statistics, running_statistics_kept

logger = logging.getLogger("fastreid.mmt")


@dataclass(frozen=True)
class Settings:
    """What an evaluation takes from a configuration, besides its model, images and loaders.

    Attributes:
        method: how galleries are ranked.
        flip: whether features are averaged with the mirror image's.
        statistics_of: data set on whose training images BN statistics are re-estimated first; "" for none.
    """

    method: Method
    flip: bool
    statistics_of: str

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Settings":
        test, dataset = cfg.TEST, cfg.TEST.PRECISE_BN.DATASET
        statistics_of = dataset if test.PRECISE_BN.ENABLED else ""
        return cls(Method.from_config(test), test.FLIP.ENABLED, statistics_of)


class EachNetwork(nn.Module):
    """The model seen as all of its inference networks at once: a batch of images -> V x B x D features, not
    normalised.
    """

    def __init__(self, model: MutualMeanTeaching):
        super().__init__()
        self.model = model

    def forward(self, batch: dict) -> Tensor:
        return self.model.extract(batch["images"])


class OneNetwork(nn.Module):
    """Any model of fastreid's, or the chosen network of one of the plugin's: a batch -> 1 x B x D."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: dict) -> Tensor:
        return self.model(batch)[None].float()


class FeatureCollector(DatasetEvaluator):
    """Keeps the features of a test set, and what its images show."""

    def __init__(self, num_query: int):
        self.num_query = num_query
        self.reset()

    def reset(self) -> None:
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def process(self, inputs: dict, outputs: Tensor) -> None:
        self._parts.append((outputs.float().cpu(), inputs["targets"].cpu(), inputs["camids"].cpu()))

    def evaluate(self) -> list[Measured]:
        """Nothing yet: whoever collects features decides what to do with them."""
        return []

    def features(self, network: int) -> tuple[Tensor, Tensor]:
        """Query and gallery features, Q x D and G x D, that one network gave in this process."""
        features = torch.cat([part[0][network] for part in self._parts])
        return features[: self.num_query], features[self.num_query :]


class EachNetworkEvaluator(FeatureCollector):
    """Measures each of V networks."""

    def __init__(self, method: Method, num_query: int):
        super().__init__(num_query)
        self.method = method

    def evaluate(self) -> list[Measured]:
        """What is measured of each network, in their order; nothing away from the main process.

        Raises:
            RankingError: no query has a match.
            ValueError: features are NaN or infinite.
        """
        parts = self._parts
        if comm.get_world_size() > 1:
            comm.synchronize()
            parts = list(itertools.chain(*comm.gather(parts, dst=0)))
            if not comm.is_main_process():
                return []
        features, identities, cameras = (
            torch.cat(column, dim=-2 if at == 0 else 0).numpy()
            for at, column in enumerate(zip(*parts, strict=True))
        )
        q = self.num_query
        labels = Labels(identities[:q], identities[q:], cameras[:q], cameras[q:])
        return [evaluate(each[:q], each[q:], *labels.all, self.method) for each in features]


def network_names(model: MutualMeanTeaching) -> list[str]:
    """teacher1, teacher2, ... or student1, ... in the order of the inference networks."""
    kind = "teacher" if len(model.teachers) else "student"
    return [f"{kind}{k + 1}" for k in range(len(model.inference_networks))]


def evaluate_networks(cfg: CfgNode, model: nn.Module) -> tuple[dict, dict[str, EachNetworkEvaluator], dict]:
    """Measure every inference network on every set of DATASETS.TESTS, and log tables.

    Args:
        cfg: its node TEST says how.
        model: one of the plugin's, or any other of fastreid's, which is its only network.

    Returns:
        For one test set the chosen network's metrics by name, and each network's as "teacher1/mAP" and so on,
        for several sets a dict of such dicts; the evaluators, which hold the features, by test set; and by
        test set what was counted. All but the evaluators are empty away from the main process.
    """
    several = isinstance(model, MutualMeanTeaching)
    names = network_names(model) if several else [""]
    networks = EachNetwork(model) if several else OneNetwork(model)
    chosen = int(model.inference_index) if several else 0
    settings, results, evaluators, counts = Settings.from_config(cfg), OrderedDict(), {}, {}
    with target_statistics(cfg, model):
        for dataset in cfg.DATASETS.TESTS:
            loader, num_query = DefaultTrainer.build_test_loader(cfg, dataset)
            evaluators[dataset] = evaluator = EachNetworkEvaluator(settings.method, num_query)
            measured = _run(cfg, networks, dataset, loader, evaluator)
            if not measured:
                continue
            _log(dataset, dict(zip(names, measured, strict=True)))
            counts[dataset] = measured[chosen].counts.as_dict()
            results[dataset] = OrderedDict(measured[chosen].metrics)
            for name, part in zip(names, measured, strict=True):
                if name:
                    results[dataset] |= {f"{name}/{key}": value for key, value in part.metrics.items()}
    return (next(iter(results.values())) if len(results) == 1 else results), evaluators, counts


def features_of(cfg: CfgNode, model: nn.Module, dataset: str) -> np.ndarray:
    """Features of a test set's images, queries first: those of the network that is used for inference.

    Args:
        cfg: its node TEST says whether mirror images are averaged in and BN statistics are renewed.
        model: any of fastreid's.
        dataset: a registered name.

    Returns:
        N x D float32, not normalised; of one process.
    """
    loader, num_query = DefaultTrainer.build_test_loader(cfg, dataset)
    collector = FeatureCollector(num_query)
    with target_statistics(cfg, model):
        _run(cfg, OneNetwork(model), dataset, loader, collector)
    return torch.cat(collector.features(0)).numpy()


def _run(
    cfg: CfgNode, networks: nn.Module, dataset: str, loader: DataLoader, evaluator: FeatureCollector
) -> list[Measured]:
    """Show a test set to networks, under the BN statistics of its domain."""
    with route(domain_of(dataset, cfg)):
        return inference_on_dataset(networks, loader, evaluator, flip_test=Settings.from_config(cfg).flip)


def _log(dataset: str, measured: dict[str, Measured]) -> None:
    """A table that pastes into a spreadsheet, and what it is of; queries that were left out are a warning."""
    for name, part in measured.items():
        counts = part.counts
        numbers = {"queries": counts.queries, "left out": counts.left_out, "gallery": counts.gallery}
        row = {**part.metrics, **numbers, "cameras": counts.cameras}
        print_csv_format(OrderedDict(row, dataset=f"{dataset} ({name})" if name else dataset))
    level = logging.WARNING if counts.left_out else logging.INFO
    logger.log(level, f"{dataset}: {counts}")


@contextmanager
def target_statistics(cfg: CfgNode, model: nn.Module) -> Iterator[None]:
    """With TEST.PRECISE_BN, inside the block, BN statistics are averages over that data set's training
    images; afterwards they are those of the training again.

    Raises:
        ConfigError: the model is none of the plugin's.
    """
    dataset = Settings.from_config(cfg).statistics_of
    if not dataset:
        yield
        return
    if not isinstance(model, MutualMeanTeaching):
        raise ConfigError(
            "TEST.PRECISE_BN.ENABLED re-estimates the statistics of MODEL.META_ARCHITECTURE "
            f"MutualMeanTeaching; this is {cfg.MODEL.META_ARCHITECTURE}: set it False"
        )
    items = training_items([dataset])
    with running_statistics_kept(model):
        reestimate_bn_statistics(model, build_extraction_loader(cfg, items))
        yield


def domain_of(dataset: str, cfg: CfgNode) -> int:
    """Whose BN layers a test set is for: the target's, unless its training set is the source's."""
    return SOURCE if dataset in cfg.DATASETS.NAMES and dataset not in cfg.DATASETS.TARGETS else TARGET
