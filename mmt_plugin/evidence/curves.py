"""Learning curves of a grid's rows, as a picture."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

from .grid import Grid
from .results import Result

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PICTURE = "curves.png"


def draw_curves(grid: Grid, results: Mapping[str, Mapping[int, Result]], path: Path) -> bool:
    """mAP against training iterations: mean over seeds, and their range.

    Args:
        grid: which names the rows.
        results: by row name and seed.
        path: of the picture.

    Returns:
        Whether there was anything to draw.
    """
    curves = {name: curve for name in grid.curves if (curve := mean_curve(results[name]))}
    if not curves:
        return False
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, (iterations, values) in curves.items():
        axes.plot(iterations, values.mean(axis=0), marker="o", markersize=3, label=name)
        axes.fill_between(iterations, values.min(axis=0), values.max(axis=0), alpha=0.15)
    axes.set(xlabel="iterations", ylabel="mAP on the target test set (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def mean_curve(runs: Mapping[int, Result]) -> tuple[list[int], np.ndarray] | None:
    """A row's curves at the iterations that all of its seeds were evaluated at.

    Returns:
        I iterations, and mAP as seeds x I; None where nothing was trained.
    """
    curves = [dict(run.curves.get("mAP", ())) for run in runs.values()]
    iterations = sorted(set.intersection(*map(set, curves))) if curves else []
    if not iterations:
        return None
    return iterations, np.array([[curve[i] for i in iterations] for curve in curves])
