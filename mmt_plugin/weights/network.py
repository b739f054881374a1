"""A network's weights out of any checkpoint, and into a network: complete or not at all."""

import logging
import os
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mmt_plugin.errors import UserError
from mmt_plugin.modeling.layers import match_domains
from mmt_plugin.system.files import replace_when_complete

from .files import import_safetensors, load_weights

logger = logging.getLogger("fastreid.mmt.checkpoint")
# The one parameter whose rows are meant to differ from file to file.
CLASSIFIER = "heads.weight"
# Where a network's weights may stand in a checkpoint: a mean teacher's or student's of our own runs, or a
# fastreid Baseline.
NETWORK_PREFIXES = ("teachers.0.", "students.0.", "")


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that cannot be used; the message names the file and says why."""


def load_file(path: str | os.PathLike) -> dict:
    """Read a checkpoint's tensors and plain values; anything that would run code is refused.

    Raises:
        CheckpointError: if the file is missing, truncated, foreign or holds objects.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"checkpoint {os.fspath(path)!r} does not exist")
    try:
        checkpoint = load_weights(os.fspath(path))
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {os.fspath(path)!r} cannot be read as plain weights: {error}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"checkpoint {os.fspath(path)!r} holds a {type(checkpoint).__name__}, not a dict of weights"
        )
    return checkpoint


def save_safetensors(weights: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    """Write weights as a file of safetensors, a format that cannot hold code; whole or not at all.

    Raises:
        ImportError: the package safetensors is missing.
        OSError: the file cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with replace_when_complete(os.fspath(path), "wb") as file:
        file.write(import_safetensors().torch.save(tensors))


def match_keys(
    path: str,
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    keys: str,
    surplus_is_error: bool = True,
) -> None:
    """Report which of a file's tensors a model takes, and refuse a file that leaves some of the model as it
    was.

    Args:
        path: of the file.
        own: what the model needs, by name.
        given: what the file holds, by name.
        keys: configuration keys to check where they differ.
        surplus_is_error: whether to refuse tensors that the model has no place for, too.

    Raises:
        CheckpointError: tensors are missing, or have other shapes.
    """
    missing = [key for key in own if key not in given]
    surplus = [key for key in given if key not in own]
    reshaped = [
        f"{key} {tuple(given[key].shape)} for {tuple(value.shape)}"
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    ]
    counts = {"missing": missing, "of another shape": reshaped, "not used": surplus}
    report = ", ".join(f"{len(names)} {what} {names[:3]}" for what, names in counts.items() if names)
    fitting = len(own) - len(missing) - len(reshaped)
    logger.info(f"{path}: {fitting} of the {len(own)} weights asked for{f'; {report}' if report else ''}")
    if missing or reshaped or (surplus and surplus_is_error):
        raise CheckpointError(f"checkpoint {path!r} does not fit the model: {report}; check {keys}")


def network_weights(path: str, prefixes: Sequence[str] = NETWORK_PREFIXES) -> dict[str, Tensor]:
    """The weights of a checkpoint's network, by their names in a fastreid Baseline.

    Args:
        path: of the file.
        prefixes: where the network may stand in it; the first that does.

    Raises:
        CheckpointError: if the checkpoint holds none.
    """
    weights = load_file(path)
    weights = weights.get("model", weights)
    prefix = next((p for p in prefixes if any(str(key).startswith(f"{p}backbone.") for key in weights)), None)
    if prefix is None:
        raise CheckpointError(
            f"checkpoint {path!r} holds no network: no key starts with 'backbone.' or 'students.0.backbone.'"
        )
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def inference_weights(path: str) -> dict[str, Tensor]:
    """Weights of the network that a checkpoint's run uses for inference; see `network_weights`."""
    weights = load_file(path)
    chosen = int(weights.get("model", weights).get("inference_index", 0))
    return network_weights(path, (f"teachers.{chosen}.", f"students.{chosen}.", ""))


def load_source_weights(network: nn.Module, path: str) -> None:
    """Start a network from a source-trained checkpoint, all but its classifier.

    Args:
        network: a ReIDNetwork.
        path: a checkpoint of this plugin (its first teacher, else its first student) or of fastreid's
            Baseline.

    Raises:
        CheckpointError: if any weight other than the classifier's is missing or has another shape.
    """
    load_network(network, network_weights(path), path)
    logger.info(f"Started from {path}: all but the classifier, whose rows follow the clusters")


def load_network(network: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Give a network all weights but its classifier's.

    Args:
        network: a ReIDNetwork.
        weights: by their names in a fastreid Baseline, with or without domain-specific BN.
        path: of the file that they are from.

    Raises:
        CheckpointError: if one is missing or has another shape.
    """
    given = match_domains(dict(weights), network)
    given.pop(CLASSIFIER, None)
    own = {key: value for key, value in network.state_dict().items() if key != CLASSIFIER}
    match_keys(path, own, given, "MODEL.BACKBONE and MODEL.HEADS", surplus_is_error=False)
    network.load_state_dict({key: given[key] for key in own}, strict=False)
