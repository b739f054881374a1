"""How much of the wrong labels' weight a grid's losses take away, epoch by epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
from tabulate import tabulate

from mmt_plugin.engine.hooks.label_noise import PREFIX

from .grid import Grid
from .results import RowResult, records_noise
from .settings import expected_settings

HEADERS = (
    "",
    "seeds",
    "wrong labels, %",
    "weight left to them",
    "given to their person",
    "left to right ones",
    "wrong triplets, %",
    "weight left to them",
    "left to right ones",
)
CAPTION = (
    "By epoch, means over seeds, of the clustered images that were trained on. A label is wrong where the "
    "image's person is not the commonest of its cluster, so that many small clusters have few wrong labels: "
    "compare rows of about as many clusters. A mined triplet is wrong where its positive is another person "
    "or its negative the same. Weight: what the losses ask for of the label's class, label smoothing aside, "
    "and of the triplet's T; hard labels ask for 1, and with soft losses of weight w it is 1 - w + w p, p "
    "being the teacher's. Given to their person: what soft labels ask for, where the label is wrong, of all "
    "clusters in which the image's person is the commonest."
)


def draw_label_noise(grid: Grid, results: Mapping[str, Mapping[int, RowResult]]) -> str:
    """The table in Markdown, of those rows whose runs recorded it (REPORT.LABEL_NOISE); "" without any."""
    body = []
    for row in grid.rows:
        runs = list(filter(records_noise, results[row.name].values()))
        if runs:
            keys = expected_settings(row, runs[0].seed).keys
            soft_ce, soft_triplet = keys["MMT.SOFT_CE_WEIGHT"], keys["MMT.SOFT_TRI_WEIGHT"]
            wrong, left, right = _cells(runs, "wrong", "p", soft_ce)
            own = _joined(soft_ce * _by_epoch(runs, "p_own"), "{:.2f}")
            triplets = _cells(runs, "triplets_wrong", "t", soft_triplet)
            body.append([row.name, str(len(runs)), wrong, left, own, right, *triplets])
    if not body:
        return ""
    return f"{tabulate(body, headers=HEADERS, tablefmt='github', disable_numparse=True)}\n\n{CAPTION}"


def _cells(runs: Sequence[RowResult], share: str, probability: str, soft: float) -> list[str]:
    """The share of wrong ones, and the weight left to wrong and to right ones."""
    wrong = 100 * _by_epoch(runs, share)
    weights = [1 - soft + soft * _by_epoch(runs, f"{probability}_{which}") for which in ("wrong", "right")]
    return [_joined(wrong, "{:.0f}"), *(_joined(weight, "{:.2f}") for weight in weights)]


def _by_epoch(runs: Sequence[RowResult], name: str) -> np.ndarray:
    """Mean of a scalar over the runs that have it, one value an epoch; NaN where none has."""
    found = [dict(run.curves.get(PREFIX + name, ())) for run in runs]
    epochs = sorted({iterations for run in runs for iterations, _ in run.curves[PREFIX + "wrong"]})
    known = [[run[epoch] for run in found if epoch in run] for epoch in epochs]
    return np.array([np.mean(values) if values else np.nan for values in known])


def _joined(values: np.ndarray, form: str) -> str:
    cells = ["-" if np.isnan(value) else form.format(value).removeprefix("0") or "0" for value in values]
    return ", ".join(cells)
