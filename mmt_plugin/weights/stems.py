"""The stem of a ResNet in a checkpoint: its ReLU and its pooling, of which no weight tells."""

import logging
from pathlib import Path

import yaml
from torch import nn

from mmt_plugin.errors import UserError

from .fit import Fit
from .foreign_names import MMT

logger = logging.getLogger("fastreid.mmt.checkpoint")
# MODEL.BACKBONE's keys, and what runs were trained with that do not record them.
KEYS = {"STEM_RELU": True, "STEM_POOL": "host"}


class StemError(UserError, RuntimeError):
    """Weights of a network with another stem; the message names the key and its value."""


def stem_of(backbone: nn.Module) -> dict[str, object]:
    """The values of KEYS that describe a backbone; empty for one without such a stem."""
    pool = getattr(backbone, "maxpool", None)
    if not isinstance(pool, nn.MaxPool2d) or not hasattr(backbone, "relu"):
        return {}
    pooling = "padded" if pool.padding else "host"
    return {"STEM_RELU": not isinstance(backbone.relu, nn.Identity), "STEM_POOL": pooling}


def check_recorded_stem(backbone: nn.Module, path: str) -> None:
    """Refuse a checkpoint whose run, by the configuration beside it, had a ResNet with another stem.

    Raises:
        StemError: naming the key.
    """
    config = Path(path).with_name("config.yaml")
    own = stem_of(backbone)
    if not own or not config.is_file():
        return
    try:
        keys = yaml.safe_load(config.read_text())["MODEL"]["BACKBONE"]
        recorded = {key: keys.get(key, default) for key, default in KEYS.items()}
    except (yaml.YAMLError, RecursionError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        return  # no configuration of a run
    different = {key: value for key, value in recorded.items() if value != own[key]}
    if keys.get("NAME") == "build_resnet_backbone" and different:
        changes = ", ".join(f"MODEL.BACKBONE.{key} {value}" for key, value in different.items())
        raise StemError(
            f"{path} was trained with {changes} ({config}), and computes something else otherwise: set that "
            "here, too, or train it anew"
        )


def compare_foreign_stem(backbone: nn.Module, fit: Fit, is_fastreids: bool, path: str) -> None:
    """Warn where a foreign network's stem is known to be another.

    Args:
        backbone: that has been filled.
        fit: how the file was read.
        is_fastreids: whether the file has the heads of a fastreid network.
        path: of the file.
    """
    own = stem_of(backbone)
    theirs = {"STEM_POOL": "host" if is_fastreids else "padded"}
    if fit.project == MMT:
        theirs["STEM_RELU"] = False
    different = {key: value for key, value in theirs.items() if own and own[key] != value}
    if different:
        changes = " and ".join(f"MODEL.BACKBONE.{key} {value}" for key, value in different.items())
        logger.warning(
            f"{path} looks like a network of {'fastreid' if is_fastreids else fit.project}, which has "
            f"another stem: set {changes}, unless you know that this one has not"
        )
