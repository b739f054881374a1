"""What an exploration advises: a setting, doubts about it, and the command that trains with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmt_plugin.config import load_config
from mmt_plugin.engine.pipeline import SHARED_HEAD_KEYS
from mmt_plugin.engine.trained_model import PRETRAINED
from mmt_plugin.pseudo_labels.quality.nuisances import nuisance_warnings
from mmt_plugin.pseudo_labels.quality.size import LARGE
from mmt_plugin.runs.recipe import flatten

from .grid import Tried

# Keys that make a network what it is: those of the source model's recipe are repeated for the training.
NETWORK_KEYS = ("MODEL.BACKBONE.", "MODEL.PIXEL_", "INPUT.SIZE_")
HEAD_KEYS = tuple(f"MODEL.HEADS.{key}" for key in SHARED_HEAD_KEYS)
# Below these shares labels are in doubt: steadiness, images in clusters, copies in the cluster of their own.
UNSTEADY, FEW, LOST = 0.4, 0.5, 0.8


def doubts(best: Tried) -> Iterator[str]:
    """Sentences that say what speaks against even the best setting, and what to try."""
    found = best.measures
    if found["clusters"] < 2:
        yield "No setting finds two clusters: these features tell no images apart. Try other weights"
        return
    yield from nuisance_warnings(found)
    if found["largest"] > LARGE:
        yield (
            f"The largest cluster holds {found['largest']:.0%} of the images: look at its sheet; unless "
            "there are only a few identities it joins several"
        )
    if found["clustered"] < FEW:
        yield (
            f"Only {found['clustered']:.0%} of the images are in a cluster: the features are weak; try other "
            "weights"
        )
    if found["steady_eps"] * found["steady_copies"] < UNSTEADY:
        yield (
            "Labels change much with the radius or with mirrored and cropped copies: expect a training to "
            "confirm its own mistakes"
        )
    if found.get("copies_kept", 1.0) < LOST:
        kept = found["copies_kept"]
        yield f"Only {kept:.0%} of the mirrored and cropped copies are nearest to their image's cluster"
    if found.get("split_tracklets"):
        yield f"{found['split_tracklets']:.0f} tracklets are split: try PSEUDO_LABELS.MUST_LINK True"
    if found.get("joined_exclusive"):
        yield (
            f"{found['joined_exclusive']:.0f} pairs of tracklets that are seen together share a label: try "
            "PSEUDO_LABELS.MUST_LINK True PSEUDO_LABELS.CANNOT_LINK True"
        )


def next_command(
    best: Tried,
    recipe: str,
    targets: Sequence[str],
    weights: Sequence[str],
    network: dict,
    given: Sequence[str],
) -> str:
    """The training with the recommended setting, to be copied.

    Args:
        best: the setting.
        recipe: the config file that trains.
        targets: data sets.
        weights: that were explored, or "pretrained".
        network: the configuration that the weights are of.
        given: KEY VALUE pairs of the command line, which are repeated.
    """
    own = flatten(load_config(recipe, list(given)))
    words = [
        "mmt",
        "train",
        "--config-file",
        recipe,
        "DATASETS.TARGETS",
        repr(tuple(targets)),
        *map(str, given),
    ]
    if PRETRAINED in weights:
        words += ["MMT.SOURCE.PRETRAIN", "False"]
    else:
        words += ["MMT.WEIGHTS", repr(tuple(weights))]
    pairs = max(len(weights), 1)
    if PRETRAINED not in weights and own["MMT.NUM_PAIRS"] != pairs:
        words += ["MMT.NUM_PAIRS", str(pairs)]
    for key, value in flatten(network).items():
        shared = key.startswith(NETWORK_KEYS) or key in HEAD_KEYS
        if shared and "PRETRAIN" not in key and own[key] != value:
            words += [key, str(value)]
    words += [*best.setting.overrides(), "OUTPUT_DIR", str(Path("logs", "explored"))]
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """For a shell, in double quotes where single ones stand in the word."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)
