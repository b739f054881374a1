"""Checkpoints: whole files only, loaded as data only; and source weights into a network."""

import logging
import os

from fastreid.utils.checkpoint import Checkpointer
from torch import Tensor, nn

from mmt_plugin.host.checkpoint import load_weights
from mmt_plugin.modeling.layers import match_domains

logger = logging.getLogger("fastreid.mmt.checkpoint")

# Where a network's weights may stand in a checkpoint: a mean teacher's or student's of our own runs, or a
# fastreid Baseline.
NETWORK_PREFIXES = ("teachers.0.", "students.0.", "")
CLASSIFIER = "heads.weight"


class CheckpointError(RuntimeError):
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
            f"checkpoint {os.fspath(path)!r} cannot be read as plain weights (truncated, foreign or holding "
            f"objects): {error}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"checkpoint {os.fspath(path)!r} holds a {type(checkpoint).__name__}, not a dict of weights"
        )
    return checkpoint


class MMTCheckpointer(Checkpointer):
    """fastreid's checkpointer (atomic by the host room) of a MutualMeanTeaching model, following its live
    classes as it loads.
    """

    def _load_file(self, f: str) -> dict:
        return load_file(f)

    def _load_model(self, checkpoint: dict):
        if "model" not in checkpoint:
            raise CheckpointError(f"the checkpoint holds no 'model', only {', '.join(map(str, checkpoint))}")
        rows = checkpoint["model"].get("students.0.heads.weight")
        if rows is None:
            raise CheckpointError(
                "the checkpoint is not of a MutualMeanTeaching model (no 'students.0.heads.weight'); "
                "a source model is named in MMT.WEIGHTS, not in MODEL.WEIGHTS"
            )
        self.model.set_classifiers(rows, len(rows))
        incompatible = super()._load_model(checkpoint)
        if incompatible.missing_keys or incompatible.incorrect_shapes:
            raise CheckpointError(
                f"the checkpoint does not fit the model: missing {incompatible.missing_keys[:3]}, other "
                "shapes "
                f"{incompatible.incorrect_shapes[:3]}; check MODEL.BACKBONE, MODEL.HEADS, MMT.NUM_PAIRS and "
                "MMT.EMA.ENABLED"
            )
        return incompatible


def network_weights(path: str) -> dict[str, Tensor]:
    """The weights of a checkpoint's network, by their names in a fastreid Baseline.

    Raises:
        CheckpointError: if the checkpoint holds none.
    """
    weights = load_file(path)
    weights = weights.get("model", weights)
    prefix = next(
        (p for p in NETWORK_PREFIXES if any(key.startswith(f"{p}backbone.") for key in weights)), None
    )
    if prefix is None:
        raise CheckpointError(
            f"checkpoint {path!r} holds no network: no key starts with 'backbone.' or 'students.0.backbone.'"
        )
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def load_source_weights(network: nn.Module, path: str) -> None:
    """Start a network from a source-trained checkpoint, all but its classifier.

    Args:
        network: a ReIDNetwork.
        path: a checkpoint of this plugin (its first teacher, else its first student) or of fastreid's
            Baseline.

    Raises:
        CheckpointError: if any weight other than the classifier's is missing or has another shape.
    """
    given = match_domains(network_weights(path), network)
    own = {key: value for key, value in network.state_dict().items() if key != CLASSIFIER}
    missing = [key for key in own if key not in given]
    reshaped = [
        f"{key} {tuple(given[key].shape)} for {tuple(value.shape)}"
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    ]
    if missing or reshaped:
        raise CheckpointError(
            f"checkpoint {path!r} does not fit the network: {len(missing)} weights missing {missing[:3]}, "
            f"{len(reshaped)} of another shape {reshaped[:3]}; check MODEL.BACKBONE and MODEL.HEADS"
        )
    network.load_state_dict({key: given[key] for key in own}, strict=False)
    logger.info(f"Loaded {len(own)} weights from {path} (all but the classifier)")
