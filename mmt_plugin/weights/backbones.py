"""ImageNet weights into a backbone, under the names of several projects, complete or not at all."""

import logging
from typing import Any

from torch import nn

from mmt_plugin.errors import UserError

from .checkpoint_files import load_weights, named_tensors
from .fit import fit_backbone
from .foreign_names import LAYOUTS

logger = logging.getLogger("fastreid.mmt.pretrained")


class PretrainedError(UserError, ValueError):
    """Weights that are not there, or not of the backbone; the message names the file and says what to do."""


def load_pretrained(backbone: nn.Module, path: str, builder: str) -> None:
    """Load MODEL.BACKBONE.PRETRAIN_PATH; see `fill_backbone`.

    Raises:
        PretrainedError: there is no such file, it cannot be read, or does not fit.
    """
    try:
        weights = load_weights(path)
    except (OSError, ValueError) as error:
        raise PretrainedError(f"MODEL.BACKBONE.PRETRAIN_PATH: {error}") from error
    fill_backbone(backbone, weights, path, builder)


def fill_backbone(backbone: nn.Module, content: Any, path: str, builder: str) -> None:
    """Load a file's weights into a backbone, whichever of the known projects named them, and say what was
    loaded and what was left over.

    Args:
        backbone: what the builder has made.
        content: of the file.
        path: of the file.
        builder: MODEL.BACKBONE.NAME.

    Raises:
        PretrainedError: weights of the backbone are missing, have other shapes, or are of a larger network.
    """
    given = dict(named_tensors(content))
    if not isinstance(content, dict) or not given:
        kind = "no tensors" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise PretrainedError(f"{path} (MODEL.BACKBONE.PRETRAIN_PATH) holds {kind}, not a dict of weights")
    layouts = LAYOUTS.get(builder, {})
    own = backbone.state_dict()
    fit = fit_backbone(backbone, own, given, layouts.items())
    if not fit.is_complete:
        raise PretrainedError(
            f"{path} (MODEL.BACKBONE.PRETRAIN_PATH) {fit.complain(len(own))}: it is of another network "
            "(MODEL.BACKBONE.NAME, DEPTH, WITH_IBN), or names its weights differently; names that "
            f"{builder} knows: {', '.join(['its own', *layouts])}"
        )
    backbone.load_state_dict(fit.weights, strict=False)
    logger.info(f"{path}: {fit.describe(len(own))}")
