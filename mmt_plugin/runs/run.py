"""Trained runs, found again by their folder: configuration, weights, and features of a test set."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset
from fastreid.engine import DefaultTrainer
from fastreid.evaluation.evaluator import inference_context
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmt_plugin import data
from mmt_plugin.challenge.ensemble import RunFeatures
from mmt_plugin.config import ConfigError, load_config
from mmt_plugin.config.architecture import MMT, check_registered, is_a
from mmt_plugin.data.build import build_dataset, build_extraction_loader
from mmt_plugin.data.datasets.cameras import camera_domains
from mmt_plugin.engine.trainer import domain_of, load_for_evaluation, without_pretraining
from mmt_plugin.modeling.layers import route
from mmt_plugin.runs.files import RESULTS
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.memory import keep_freed_memory
from mmt_plugin.weights.network import CLASSIFIER, CheckpointError, load_file, match_keys

from .record import chosen_model

# Of a training, and of an evaluation without one.
RECORDS = (RESULTS, "evaluation.json")


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        name: the path it was asked for by.
        config_file: its own.
        cfg: its configuration, with MODEL.WEIGHTS naming the checkpoint to evaluate; frozen.
    """

    name: str
    config_file: Path
    cfg: CfgNode

    @property
    def domains(self) -> list[str]:
        """The sets it was made for: those it was adapted to, or without any those it was trained on. Of a
        camera model, those whose cameras it recognises.
        """
        return camera_domains(self.cfg.DATASETS.NAMES) or list(
            self.cfg.DATASETS.TARGETS or self.cfg.DATASETS.NAMES
        )


def load_run(path: str, settings: CfgNode | None = None) -> Run:
    """Find a run's configuration and weights.

    Args:
        path: its folder, or a checkpoint in it. Of a folder the final checkpoint is taken, or the best one
            where MMT.SELECTION.RULE is not "last".
        settings: whose device, number of loader workers and TEST replace the run's own.

    Raises:
        ConfigError: there is no such folder, or it holds no configuration.
        CheckpointError: it holds no such checkpoint.
    """
    folder = Path(path).parent if path.endswith(".pth") else Path(path)
    config_file = folder / "config.yaml"
    if not config_file.is_file():
        raise ConfigError(f"{path} is no run: there is no {config_file}")
    cfg = load_config(config_file)
    check_registered(cfg)
    weights = Path(path)
    if weights == folder:
        weights = folder / chosen_model(cfg)
    if not weights.is_file():
        raise CheckpointError(f"{path}: there is no {weights.name}; the run is not finished")
    cfg.MODEL.WEIGHTS = str(weights)
    cfg.DATALOADER.ON_BAD_IMAGE = "error"  # every test image counts
    if settings is not None:
        cfg.MODEL.DEVICE = settings.MODEL.DEVICE
        cfg.DATALOADER.NUM_WORKERS = settings.DATALOADER.NUM_WORKERS
        cfg.TEST = settings.TEST.clone()
    resolve_device(cfg)
    cfg.freeze()
    return Run(path, config_file, cfg)


def load_model(run: Run) -> nn.Module:
    """The run's model with its weights: one of this plugin's, or any other of fastreid's.

    Raises:
        CheckpointError: the weights do not fit the configuration.
    """
    if is_a(run.cfg, MMT):
        return load_for_evaluation(run.cfg)
    keep_freed_memory(run.cfg.MODEL.DEVICE)
    model = DefaultTrainer.build_model(without_pretraining(run.cfg))
    # fastreid's own checkpointer goes on with what fits.
    weights = load_file(run.cfg.MODEL.WEIGHTS)
    given = weights.get("model", weights)
    own = {key: value for key, value in model.state_dict().items() if key != CLASSIFIER}
    match_keys(run.cfg.MODEL.WEIGHTS, own, given, "MODEL", surplus_is_error=False)
    model.load_state_dict({key: given[key] for key in own}, strict=False)
    return model


def features_of_test_set(run: Run, dataset: str) -> tuple[RunFeatures, ImageDataset]:
    """Features of a test set's images: those of the network that the run uses for inference, L2-normalised.

    With TEST.FLIP.ENABLED a feature is the mean of the image's and its mirror image's, before normalisation.

    Args:
        run: whose SYNTHETIC also says which built-in world the set's name stands for.
        dataset: a registered name.

    Returns:
        The features and the data set.
    """
    data.configure(run.cfg)
    images = build_dataset(dataset)
    items = [*images.query, *images.gallery]
    loader = build_extraction_loader(run.cfg, items)
    with route(domain_of(dataset, run.cfg)):
        features = _extract(load_model(run), loader, run.cfg.TEST.FLIP.ENABLED)
    return RunFeatures(run.name, images.query, images.gallery, features.numpy()), images


@torch.inference_mode()
def _extract(model: nn.Module, loader: DataLoader, flip: bool) -> torch.Tensor:
    parts = []
    with inference_context(model):
        for images in tqdm(loader, desc="features", leave=False, disable=None):
            features = model({"images": images})
            if flip:
                features = (features + model({"images": images.flip(dims=[3])})) / 2
            parts.append(F.normalize(features.float(), dim=1).cpu())
    return torch.cat(parts)


def check_roles(runs: Sequence[Run], camera: Run | None) -> None:
    """Refuse a camera model that is no camera model, or of other cameras, identities by a camera model, and
    weights that are named twice.

    Raises:
        ConfigError: naming the run.
    """
    seen: dict[Path, str] = {}
    for run in runs:
        weights = Path(run.cfg.MODEL.WEIGHTS).resolve()
        if weights in seen:
            raise ConfigError(f"{run.name} and {seen[weights]} are the same model, named twice")
        seen[weights] = run.name
        if camera_domains(run.cfg.DATASETS.NAMES):
            raise ConfigError(f"{run.name} is a camera model: it goes behind --camera")
    if camera is None:
        return
    if not camera_domains(camera.cfg.DATASETS.NAMES):
        raise ConfigError(
            f"{camera.name} is no camera model: it was trained on {', '.join(camera.cfg.DATASETS.NAMES)}, "
            "not on the cameras of a set (configs/camera)"
        )
    for run in runs:
        foreign = [name for name in run.domains if name not in camera.domains]
        if foreign:
            raise ConfigError(
                f"{camera.name} knows the cameras of {', '.join(camera.domains)}, but {run.name} was made "
                f"for {', '.join(foreign)}"
            )


def read_results(folder: str) -> dict:
    """What a finished run, or else an evaluation, recorded.

    Raises:
        ConfigError: there is no such record, or it cannot be read.
    """
    path = next((path for name in RECORDS if (path := Path(folder, name)).is_file()), None)
    if path is None:
        raise ConfigError(f"{folder}: there is no results.json; the run is not finished")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
