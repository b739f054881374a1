"""A trained run as part of a ranking: its configuration under the evaluation's keys, and its features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin import data
from mmt_plugin.config import ConfigError
from mmt_plugin.config.architecture import check_registered
from mmt_plugin.data.datasets.cameras import camera_domains
from mmt_plugin.data.items import build_dataset
from mmt_plugin.engine.evaluate_model import features_of
from mmt_plugin.engine.trained_model import load_for_evaluation
from mmt_plugin.retrieval import Method
from mmt_plugin.retrieval.evaluation import normalised
from mmt_plugin.runs.run import Run
from mmt_plugin.system.devices import resolve_device

from .ensemble import RunFeatures


@dataclass(frozen=True)
class RankedRun:
    """A finished training, to be ranked with.

    Attributes:
        name: the path it was asked for by.
        cfg: its configuration, with MODEL.WEIGHTS naming the checkpoint to evaluate; frozen.
    """

    name: str
    cfg: CfgNode

    @property
    def domains(self) -> list[str]:
        """The sets it was made for: those it was adapted to, or without any those it was trained on. Of a
        camera model, those whose cameras it recognises.
        """
        return camera_domains(self.cfg.DATASETS.NAMES) or list(
            self.cfg.DATASETS.TARGETS or self.cfg.DATASETS.NAMES
        )


def load_run(path: str, settings: CfgNode | None = None, world: Sequence[str] = ()) -> RankedRun:
    """Find a run's configuration and weights.

    Args:
        path: its folder, or a checkpoint in it.
        settings: whose device, number of loader workers, TEST, test sets and DATASETS.OWN replace the run's
            own.
        world: keys of SYNTHETIC that replace the run's own as well.

    Raises:
        RunError: there is no such run, or it holds no such checkpoint.
    """
    run = Run(path)
    cfg = run.cfg.clone()
    check_registered(cfg)
    cfg.MODEL.WEIGHTS = str(run.weights)
    cfg.DATALOADER.ON_BAD_IMAGE = "error"  # every test image counts
    if settings is not None:
        cfg.MODEL.DEVICE = settings.MODEL.DEVICE
        cfg.DATALOADER.NUM_WORKERS = settings.DATALOADER.NUM_WORKERS
        cfg.TEST = settings.TEST.clone()
        cfg.DATASETS.TESTS = settings.DATASETS.TESTS
        cfg.DATASETS.OWN = settings.DATASETS.OWN.clone()
        if camera_domains(cfg.DATASETS.NAMES):
            cfg.TEST.PRECISE_BN.ENABLED = False  # its statistics are of the cameras already
        for key in world:
            cfg.SYNTHETIC[key] = settings.SYNTHETIC[key]
    resolve_device(cfg)
    cfg.freeze()
    return RankedRun(path, cfg)


def features_of_test_set(
    run: RankedRun, dataset: str, normalise: bool = True
) -> tuple[RunFeatures, ImageDataset]:
    """Features of a test set's images: those of the network that the run uses for inference.

    With TEST.FLIP.ENABLED a feature is the mean of the image's and its mirror image's, before normalisation.

    Args:
        run: whose configuration also says which data the set's name stands for.
        dataset: a registered name.
        normalise: whether features get unit length.

    Returns:
        The features and the data set.
    """
    data.configure(run.cfg)
    images = build_dataset(dataset)
    features = features_of(run.cfg, load_for_evaluation(run.cfg), dataset)
    features = normalised(features) if normalise else np.ascontiguousarray(features)
    return RunFeatures(run.name, images.query, images.gallery, features, normalise), images


def needs_directions(runs: Sequence[RankedRun], camera: RankedRun | None, method: Method) -> bool:
    """Whether features have to be of unit length: where they are joined, or compared with a camera term."""
    return method.metric == "cosine" or len(runs) > 1 or camera is not None


def check_roles(runs: Sequence[RankedRun], camera: RankedRun | None) -> None:
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
