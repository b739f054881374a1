"""A network's weights out of any checkpoint, and into a network: complete or not at all."""

import logging
import os
import re
from collections.abc import Mapping, Sequence

from fastreid.modeling.heads.embedding_head import EmbeddingHead
from torch import Tensor, nn

from mmt_plugin.errors import UserError
from mmt_plugin.modeling.layers import DOMAINS, match_domains
from mmt_plugin.system.files import replace_when_complete

from .checkpoint_files import import_safetensors, load_weights, named_tensors
from .fit import fit_backbone, is_needed
from .foreign_names import CLASSIFIERS, EMBEDDINGS, LAYOUTS, NECKS, POOLS
from .stems import check_recorded_stem, compare_foreign_stem

logger = logging.getLogger("fastreid.mmt.checkpoint")
# The one parameter whose rows are meant to differ from file to file.
CLASSIFIER = "heads.weight"
# Where a network stands in a checkpoint of our own runs: the first mean teacher, else the first student.
FIRST_NETWORK = ("teachers.0.", "students.0.")
# One of domain-specific batch normalisation's branches.
_BRANCH = re.compile(rf"\.({'|'.join(DOMAINS)})\.(weight|running_mean)$")


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


def network_weights(
    path: str, network: nn.Module, of_run: Sequence[str] = FIRST_NETWORK
) -> dict[str, Tensor]:
    """The weights of a checkpoint's network, by their names in a fastreid Baseline.

    Args:
        path: of a file of this plugin, of fastreid (its model zoo's older names, too), or of one of the
            projects whose names are known (names.py), in any wrapper and below any prefix.
        network: a ReIDNetwork that is to take them; tells what to look for.
        of_run: which network of a run of this plugin; the first of these that there is.

    Raises:
        CheckpointError: if the checkpoint holds none.
    """
    content = load_file(path)
    check_recorded_stem(network.backbone, path)
    given = dict(named_tensors(content.get("model", content)))
    prefix = next((p for p in of_run if any(name.startswith(f"{p}backbone.") for name in given)), None)
    if prefix is not None:
        return {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
    if any(name.startswith("backbone.") and _BRANCH.search(name) for name in given):
        return given
    return _translated(dict(named_tensors(content)), network, path)


def _translated(given: dict[str, Tensor], network: nn.Module, path: str) -> dict[str, Tensor]:
    """The network that is in a foreign file."""
    layouts = [pair for known in LAYOUTS.values() for pair in known.items()]
    own = _ordinary(network.backbone.state_dict())
    fit = fit_backbone(network.backbone, own, given, layouts)
    if not fit.is_complete:
        raise CheckpointError(
            f"checkpoint {path!r} holds no network of MODEL.BACKBONE and MODEL.HEADS: it "
            f"{fit.complain(len(own))}"
        )
    logger.info(f"{path}: {fit.describe(len(own))}")
    root = _parent(fit.prefix)
    is_fastreids = any(name.startswith(f"{root}heads.") for name in given)
    compare_foreign_stem(network.backbone, fit, is_fastreids, path)
    roots = list(dict.fromkeys((root, fit.prefix)))
    # What the network has no place for is reported, or refused, by whoever loads them.
    left = {f"backbone.{name}": given[f"{fit.prefix}{name}"] for name in fit.unused if is_fastreids}
    return {
        **left,
        **{f"backbone.{name}": value for name, value in fit.weights.items()},
        **_translated_head(given, roots, network, path),
    }


def _translated_head(
    given: Mapping[str, Tensor], roots: Sequence[str], network: nn.Module, path: str
) -> dict[str, Tensor]:
    """Pooling exponent, neck and classifier, from beside the backbone or, where it has no module of its own,
    among its layers.
    """
    own = {name: value for name, value in _ordinary(network.state_dict()).items() if "heads." in name}

    def find(names: Sequence[str]) -> tuple[str, str]:
        found = [(f"{root}{name}", name) for root in roots for name in names]
        return next((pair for pair in found if any(key.startswith(pair[0]) for key in given)), ("", ""))

    head = {name: given[f"{root}{name}"] for root in roots for name in own if f"{root}{name}" in given}
    neck = next((name.removesuffix("running_mean") for name in own if name.endswith("running_mean")), "")
    theirs, _ = find([f"{name}running_mean" for name in NECKS])
    if neck and f"{neck}running_mean" not in head and theirs:
        root = theirs.removesuffix("running_mean")
        head.update({neck + name.removeprefix(root): given[name] for name in given if name.startswith(root)})
    for target, names in (("heads.pool_layer.p", POOLS), (CLASSIFIER, CLASSIFIERS)):
        key, _ = find(names)
        if target in own and target not in head and key:
            head[target] = given[key]
    embedding, _ = find(EMBEDDINGS)
    if embedding and not any(value.dim() == 4 for value in own.values()):
        raise CheckpointError(
            f"checkpoint {path!r} has a layer between pooling and neck ({embedding}), which the configured "
            "head has not: MODEL.BACKBONE.PRETRAIN_PATH takes its backbone alone"
        )
    return head


def _ordinary(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as they were before batch normalisation got a branch for each domain."""
    pattern = re.compile(rf"\.({'|'.join(DOMAINS)})\.([a-z_]+)$")
    return {pattern.sub(r".\2", name): value for name, value in own.items()}


def _parent(prefix: str) -> str:
    """What stands before the last part of a prefix: "module.base." -> "module."."""
    parts = prefix.split(".")[:-2]
    return "".join(f"{part}." for part in parts)


def inference_weights(path: str, network: nn.Module) -> dict[str, Tensor]:
    """Weights of the network that a checkpoint's run uses for inference; see `network_weights`."""
    weights = load_file(path)
    model = weights.get("model", weights)
    chosen = int(model.get("inference_index", 0)) if isinstance(model, Mapping) else 0
    return network_weights(path, network, (f"teachers.{chosen}.", f"students.{chosen}."))


def load_source_weights(network: nn.Module, path: str) -> None:
    """Start a network from a source-trained checkpoint, all but its classifier.

    Args:
        network: a ReIDNetwork.
        path: a checkpoint of this plugin (its first teacher, else its first student), of fastreid's Baseline,
            or of another project; see `network_weights`.

    Raises:
        CheckpointError: if any weight other than the classifier's is missing or has another shape.
    """
    load_network(network, network_weights(path, network), path)
    logger.info(f"Started from {path}: all but the classifier, whose rows follow the clusters")


def load_network(
    network: nn.Module, weights: Mapping[str, Tensor], path: str, surplus_is_error: bool = False
) -> None:
    """Give a network all weights but its classifier's.

    Args:
        network: a ReIDNetwork.
        weights: by their names in a fastreid Baseline, with or without domain-specific BN.
        path: of the file that they are from.
        surplus_is_error: whether to refuse weights that the network has no place for.

    Raises:
        CheckpointError: if one is missing or has another shape.
    """
    given = match_domains(dict(weights), network)
    given.pop(CLASSIFIER, None)
    own = {key: value for key, value in network.state_dict().items() if key != CLASSIFIER}
    needed = {key: value for key, value in own.items() if key in given or is_needed(key)}
    match_keys(path, needed, given, "MODEL.BACKBONE and MODEL.HEADS", surplus_is_error)
    network.load_state_dict({key: given[key] for key in needed}, strict=False)


def load_model(model: nn.Module, path: str) -> None:
    """Give a model of fastreid's own kinds (Baseline, MGN, ...) a checkpoint's weights; of classifiers only
    those for as many identities.

    Args:
        model: with, to take up other projects' files, a `backbone` and `heads` as a Baseline has.
        path: of its own, of a run of this plugin (the network that is used for inference), or of another
            project; see `network_weights`.

    Raises:
        CheckpointError: if any weight other than a classifier's is missing or has another shape.
    """
    content = load_file(path)
    own, given = model.state_dict(), dict(named_tensors(content.get("model", content)))
    given = {name.removeprefix("module."): value for name, value in given.items()}
    heads = {name for name, module in model.named_modules() if isinstance(module, EmbeddingHead)}
    classifiers = {f"{name}.weight" for name in heads} & own.keys()
    needed = {name for name in own if name not in classifiers and is_needed(name)}
    foreign = len(needed & given.keys()) < len(needed) / 2
    if foreign and hasattr(model, "backbone") and hasattr(model, "heads"):
        given = match_domains(inference_weights(path, model), model)
    else:
        check_recorded_stem(getattr(model, "backbone", model), path)
    other = {name for name in classifiers & given.keys() if given[name].shape != own[name].shape}
    if other:
        logger.info(f"{path}: not used, being of other identities: {', '.join(sorted(other))}")
    wanted = {name: own[name] for name in own if name in needed or (name in given and name not in other)}
    match_keys(path, wanted, given, "MODEL.META_ARCHITECTURE, BACKBONE and HEADS", surplus_is_error=False)
    model.load_state_dict({name: given[name] for name in wanted}, strict=False)
