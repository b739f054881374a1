"""The scalars of a run, by epoch, as metrics.json has them."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from mmt_plugin.system.files import read_text

from .run_files import METRICS

# How the names of inference networks start, see `evaluation.networks`.
NETWORKS = ("teacher", "student")

# What older runs call a scalar.
FORMER_NAMES = {"unclustered": "outliers"}


@dataclass(frozen=True)
class Curve:
    """One scalar over the run.

    Attributes:
        name: as it is recorded.
        epochs: positions, in epochs that were complete: a label step at the start of the first epoch is at 0,
            an evaluation at its end at 1.
        values: as many.
    """

    name: str
    epochs: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Scalars:
    """All scalars of a run.

    Attributes:
        iters_per_epoch: 0 where no epoch is complete.
        labels: those of the label steps, by name.
        training: all others, by name.
    """

    iters_per_epoch: int
    labels: dict[str, Curve]
    training: dict[str, Curve]

    @property
    def num_epochs(self) -> int:
        """Complete epochs."""
        return round(max((curve.epochs[-1] for curve in self.training.values()), default=0))

    def total(self, name: str) -> float | None:
        """Sum of a scalar over all epochs; None where it was not recorded."""
        curve = self.labels.get(name) or self.training.get(name)
        return None if curve is None else sum(curve.values)


def read_scalars(folder: Path) -> Scalars:
    """Read a run's metrics.json; a line that was cut off while it was written is left out.

    What is recorded together with the number of clusters is a scalar of the label step, whatever its name.
    """
    path = folder / METRICS
    lines = list(map(_parse, read_text(path).splitlines())) if path.exists() else []
    lines = [line for line in lines if line is not None]
    length = min((line["iteration"] + 1 for line in lines if "images_per_bn" in line), default=0)
    others = {name for line in lines if "clusters" not in line for name in line}
    labels: dict[str, Curve] = {}
    training: dict[str, Curve] = {}
    for line in lines:
        iteration = line.pop("iteration")
        for name, value in line.items():
            is_label = "clusters" in line and name not in others
            # A label step is recorded at the last iteration of the epoch before it.
            position = 0 if is_label and iteration == 0 else (iteration + 1) / max(length, 1)
            curve = (labels if is_label else training).setdefault(name, Curve(name))
            curve.epochs.append(position)
            curve.values.append(value)
    return Scalars(length, labels, training)


def _parse(line: str) -> dict | None:
    try:
        scalars = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(scalars, dict) or "iteration" not in scalars:
        return None
    return {FORMER_NAMES.get(name, name): value for name, value in scalars.items()}


def is_of_network(name: str) -> bool:
    """Whether a metric is that of one network, not of the one that is used."""
    return any(part.startswith(NETWORKS) for part in name.split("/")[:-1])


def spaced(network: str) -> str:
    """teacher1 -> teacher 1."""
    return re.sub(r"(\D)(\d+)$", r"\1 \2", network.rpartition("/")[2])


def grouped(curves: dict[str, Curve], suffix: str) -> dict[str, list[Curve]]:
    """Curves whose names end with a suffix, by test set: what stands before the network's name, "" where
    there is one set only.
    """
    groups: dict[str, list[Curve]] = defaultdict(list)
    for name, curve in curves.items():
        *parts, last = name.split("/")
        if last == suffix:
            groups["/".join(part for part in parts if not part.startswith(NETWORKS))].append(curve)
    return dict(groups)
