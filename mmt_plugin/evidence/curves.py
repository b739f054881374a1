"""Learning curves of a grid's rows, as a picture and as a table."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from tabulate import tabulate

from .grid import Grid
from .results import Result
from .table import COMPARED, comparison, summary

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
    costs = {row.name: row.cost for row in grid.rows if row.name in curves}
    scales = {"iterations": dict.fromkeys(curves, 1.0)}
    if len(set(costs.values())) > 1:
        cheapest = min(costs.values())
        scales["computing, in iterations of the cheapest row"] = {
            name: cost / cheapest for name, cost in costs.items()
        }
    panels = len(scales)
    figure, axes = plt.subplots(
        1, panels, figsize=(7 * panels, 4.2), layout="constrained", sharey=True, squeeze=False
    )
    for panel, (label, scale) in zip(axes[0], scales.items(), strict=True):
        for name, (iterations, values) in curves.items():
            x = scale[name] * np.array(iterations)
            panel.plot(x, values.mean(axis=0), marker="o", markersize=3, label=name)
            panel.fill_between(x, values.min(axis=0), values.max(axis=0), alpha=0.15)
        panel.set(xlabel=label)
        panel.grid(alpha=0.3)
    axes[0, 0].set(ylabel="mAP on the target test set (%)")
    axes[0, 0].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def draw_curve_table(grid: Grid, results: Mapping[str, Mapping[int, Result]]) -> str:
    """The curves in Markdown: a line for each evaluation of each row that the grid draws, with its difference
    to the row's reference after as many iterations and, where the two rows' iterations cost unequally much,
    after as much computing.

    Returns:
        The table; "" where nothing was trained.
    """
    rows = {row.name: row for row in grid.rows}
    metric = f"{COMPARED} - reference"
    headers = ["", "iterations", COMPARED, f"{metric}, as many iterations", "mean", "p (n)"]
    headers += [f"{metric}, as much computing", "mean", "p (n)"]
    body = []
    for name in grid.curves:
        row, reference = rows[name], rows.get(rows[name].reference)
        others = _by_iteration(results[reference.name]) if reference else {}
        ratio = row.cost / reference.cost if reference else 1
        for iterations, values in sorted(_by_iteration(results[name]).items()):
            as_much = others.get(round(ratio * iterations), {}) if ratio != 1 else {}
            cells = [name, str(iterations), summary(list(values.values()), 1)]
            cells += comparison(values, others.get(iterations, {}))
            body.append([*cells, *comparison(values, as_much)])
    return tabulate(body, headers=headers, tablefmt="github", disable_numparse=True) if body else ""


def _by_iteration(runs: Mapping[int, Result]) -> dict[int, dict[int, float]]:
    """mAP of a row's evaluations while it trained, by iterations and seed."""
    found: dict[int, dict[int, float]] = {}
    for seed, run in runs.items():
        for iterations, value in run.curves.get(COMPARED, ()):
            found.setdefault(iterations, {})[seed] = value
    return found


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
