"""Learning curves of a grid's rows, as a picture and as a table."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from tabulate import tabulate

from .grid import Grid
from .results import RowResult
from .table import COMPARED, comparison, summary

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PICTURE = "curves.png"
CAPTION = (
    "As much computing: by what an iteration costs. Where the reference was not evaluated after just so many "
    "iterations, its mAP lies on the straight line between the evaluations before and after."
)


def draw_curves(grid: Grid, results: Mapping[str, Mapping[int, RowResult]], path: Path) -> bool:
    """mAP against training iterations: mean over seeds, and their range.

    Args:
        grid: which names the rows.
        results: by row name and seed.
        path: of the picture.

    Returns:
        Whether there was anything to draw.
    """
    curves = {name: curve for name in grid.curves if (curve := evaluations(results[name], of_all_seeds=True))}
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
        for name, curve in curves.items():
            x = scale[name] * np.array(list(curve))
            values = np.array([list(seeds.values()) for seeds in curve.values()])
            panel.plot(x, values.mean(axis=1), marker="o", markersize=3, label=name)
            panel.fill_between(x, values.min(axis=1), values.max(axis=1), alpha=0.15)
        panel.set(xlabel=label)
        panel.grid(alpha=0.3)
    axes[0, 0].set(ylabel="mAP on the target test set (%)")
    axes[0, 0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def draw_curve_table(grid: Grid, results: Mapping[str, Mapping[int, RowResult]]) -> str:
    """The curves in Markdown: a line for each evaluation of each row that the grid draws, with its difference
    to the row's reference after as many iterations and, where the two rows' iterations cost unequally much,
    after as much computing: if the reference was not evaluated then, by the straight line between its
    evaluations before and after.

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
        others = evaluations(results[reference.name]) if reference else {}
        ratio = row.cost / reference.cost if reference else 1
        for iterations, values in evaluations(results[name]).items():
            as_much = _interpolated(others, ratio * iterations) if ratio != 1 else {}
            cells = [name, str(iterations), summary(list(values.values()), 1)]
            cells += comparison(values, others.get(iterations, {}))
            body.append([*cells, *comparison(values, as_much)])
    if not body:
        return ""
    return f"{tabulate(body, headers=headers, tablefmt='github', disable_numparse=True)}\n\n{CAPTION}"


def _interpolated(curve: Mapping[int, Mapping[int, float]], iterations: float) -> dict[int, float]:
    """mAP by seed at a point between a row's evaluations, or at one of them; empty outside of them."""
    before = max((i for i in curve if i <= iterations), default=None)
    after = min((i for i in curve if i >= iterations), default=None)
    if before is None or after is None:
        return {}
    seeds = sorted(curve[before].keys() & curve[after].keys())
    points = [before, after]
    return {s: float(np.interp(iterations, points, [curve[i][s] for i in points])) for s in seeds}


def evaluations(runs: Mapping[int, RowResult], of_all_seeds: bool = False) -> dict[int, dict[int, float]]:
    """A row's mAP while it trained.

    Args:
        runs: by seed.
        of_all_seeds: leave out iterations at which some seed was not evaluated.

    Returns:
        mAP by training iterations, in ascending order, and seed.
    """
    found: dict[int, dict[int, float]] = {}
    for seed, run in runs.items():
        for iterations, value in run.curves.get(COMPARED, ()):
            found.setdefault(iterations, {})[seed] = value
    return {i: found[i] for i in sorted(found) if not of_all_seeds or len(found[i]) == len(runs)}
