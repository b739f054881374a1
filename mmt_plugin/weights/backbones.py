"""ImageNet weights into a backbone, under the names of several projects, complete or not at all."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from mmt_plugin.errors import UserError

from .files import load_weights
from .names import LAYOUTS, OWN, PREFIXES, WRAPPERS, Layout, rename

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


def fill_backbone(backbone: nn.Module, weights: Mapping, path: str, builder: str) -> None:
    """Load a file's weights into a backbone, whichever of the known projects named them, and say what was
    loaded and what was left over.

    Args:
        backbone: what the builder has made.
        weights: content of the file.
        path: of the file.
        builder: MODEL.BACKBONE.NAME.

    Raises:
        PretrainedError: weights of the backbone are missing, or have other shapes.
    """
    if not isinstance(weights, Mapping):
        kind = type(weights).__name__
        raise PretrainedError(f"{path} (MODEL.BACKBONE.PRETRAIN_PATH) holds a {kind}, not a dict of weights")
    own = backbone.state_dict()
    for wrapper in WRAPPERS:
        weights = weights[wrapper] if isinstance(weights.get(wrapper), Mapping) else weights
    if hasattr(backbone, "adapt_weights"):  # it knows more than names, such as other image sizes
        weights = backbone.adapt_weights(weights)
    layouts: dict[str, Layout] = {"its own": OWN, **LAYOUTS.get(builder, {})}
    candidates = [
        (project, _renamed(weights, prefix, renames))
        for project, renames in layouts.items()
        for prefix in PREFIXES
    ]
    project, given = max(candidates, key=lambda candidate: len(_fitting(own, candidate[1])))
    fitting = _fitting(own, given)
    lacking = [key for key in own if key not in fitting and is_needed(key)]
    if lacking:
        reshaped = [
            f"{key} is {tuple(given[key].shape)}, not {tuple(own[key].shape)}"
            for key in lacking
            if key in given
        ]
        raise PretrainedError(
            f"{path} (MODEL.BACKBONE.PRETRAIN_PATH) lacks {len(lacking)} of the {len(own)} weights of the "
            f"backbone, such as {', '.join(lacking[:3])}{f' ({reshaped[0]})' if reshaped else ''}: it is of "
            "another network (MODEL.BACKBONE.NAME, DEPTH, WITH_IBN), or names its weights differently; names "
            f"that {builder} knows: {', '.join(layouts)}"
        )
    backbone.load_state_dict(fitting, strict=False)
    unused = [key for key in given if key not in fitting]
    logger.info(
        f"{path}: {len(fitting)} of the backbone's {len(own)} weights loaded, by the names of {project}; "
        f"{f'not used: {len(unused)}, such as {unused[:3]}' if unused else 'nothing is left over'}"
    )


def _renamed(weights: Mapping, prefix: str, renames: Layout) -> dict[str, Tensor]:
    return {
        rename(name.removeprefix(prefix), renames): value
        for name, value in weights.items()
        if isinstance(name, str) and name.startswith(prefix) and isinstance(value, Tensor)
    }


def _fitting(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}


def is_needed(key: str) -> bool:
    """Whether no classifier can do without a weight: not so non-local layers and counters of batches."""
    return not key.startswith("NL_") and "num_batches" not in key
