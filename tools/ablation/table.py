"""A grid's table: mean and spread over seeds, and each row's difference to its reference row."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import ttest_rel
from tabulate import tabulate

from .grid import Grid, Row
from .jobs import command_by_hand
from .results import RowResult

# How to read a value from a run, and the digits shown of it.
Column = tuple[Callable[[RowResult], float | None], int]
# Metric of the differences.
COMPARED = "mAP"
COLUMNS = ("mAP", "Rank-1", "Rank-5", "Rank-10")
SUMMARY_COLUMNS = ("mAP", "Rank-1")
# Pairs from which a test is shown.
MIN_PAIRS = 3
NOTHING = "-"
NO_RUNS = "No run of this grid is recorded."


def draw_table(grid: Grid, results: Mapping[str, Mapping[int, RowResult]], minutes: bool = False) -> str:
    """The table in Markdown, with a sentence on what is in it.

    Args:
        grid: whose rows, also those without results, are shown.
        results: by row name and seed.
        minutes: show how long runs took, which is comparable only where nothing else ran beside them.
    """
    if not any(results.values()):
        return NO_RUNS
    headers, columns = _columns(COLUMNS, ["first ARI", "clusters", *(["minutes"] if minutes else [])])
    references = _references(grid, results)
    table = _draw(grid.rows, results, headers, columns, references)
    return "\n\n".join([table, *_notes(grid, len(references) > 1), _caption(bool(references))])


def draw_summary(grid: Grid, results: Mapping[str, Mapping[int, RowResult]]) -> str:
    """A shorter table, of the rows that were run: two metrics, and the differences."""
    rows = [row for row in grid.rows if results[row.name]]
    if not rows:
        return NO_RUNS
    return _draw(rows, results, *_columns(SUMMARY_COLUMNS, []), _references(grid, results))


def draw_commands(grid: Grid, results: Mapping[str, Mapping[int, RowResult]]) -> str:
    """A command for each row that was run, of its first seed, as a shell block."""
    lines = []
    for row in grid.rows:
        if runs := results[row.name]:
            lines += [f"# {row.name}", command_by_hand(grid, row, min(runs))]
    return "\n".join(["```sh", *lines, "```"])


def summary(values: Sequence[float | None], digits: int) -> str:
    """Mean ± standard deviation (n - 1); the value alone where there is one."""
    if not values or None in values:
        return NOTHING
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def comparison(values: Mapping[int, float], reference: Mapping[int, float]) -> list[str]:
    """Differences over the seeds that both have: each, their mean, and p with the number of pairs.

    Args:
        values: of a row, by seed.
        reference: of the row that it is compared with.
    """
    differences = paired_differences(values, reference)
    if not differences:
        return [NOTHING] * 3
    p = paired_p(differences)
    return [
        ", ".join(map(_signed, differences)),
        _signed(np.mean(differences)),
        NOTHING if p is None else f"{_rounded(p)} ({len(differences)})",
    ]


def paired_differences(values: Mapping[int, float], reference: Mapping[int, float]) -> list[float]:
    """Of the seeds that both have, in ascending order."""
    return [values[seed] - reference[seed] for seed in sorted(values.keys() & reference.keys())]


def paired_p(differences: Sequence[float]) -> float | None:
    """p of the two-sided paired t-test that the differences' mean is zero; None for too few pairs, or where
    all of them are zero.
    """
    if len(differences) < MIN_PAIRS or not np.any(differences):
        return None
    return float(ttest_rel(differences, np.zeros(len(differences))).pvalue)


def _columns(metrics: Sequence[str], others: Sequence[str]) -> tuple[list[str], list[Column]]:
    """Headers, and for each how to read it from a run and with how many digits to show it."""
    known: dict[str, Column] = {
        "first ARI": (first_ari, 2),
        "clusters": (lambda run: run.clusters, 0),
        "minutes": (lambda run: run.minutes, 1),
    }
    columns = [(lambda run, name=name: run.metrics[name], 1) for name in metrics]
    return [*metrics, *others], [*columns, *(known[name] for name in others)]


def _references(grid: Grid, results: Mapping[str, Mapping[int, RowResult]]) -> set[str]:
    """Names of the rows that others are compared with, of those that were run."""
    return {row.reference for row in grid.rows if row.reference and results[row.reference]}


def _draw(
    rows: Sequence[Row],
    results: Mapping[str, Mapping[int, RowResult]],
    headers: Sequence[str],
    columns: Sequence[Column],
    references: set[str],
) -> str:
    headers = ["", "seeds", *headers]
    if references:
        name = next(iter(references)) if len(references) == 1 else "reference"
        headers += [f"{COMPARED} - {name}, by seed", "mean", "p (n)"]
    body = []
    for row in rows:
        runs = results[row.name]
        cells = [row.name, str(len(runs) or NOTHING)]
        cells += [summary([value(run) for run in runs.values()], digits) for value, digits in columns]
        if row.name in references and not row.reference:
            cells += ["reference", NOTHING, NOTHING]
        elif references:
            cells += comparison(compared(runs), compared(results.get(row.reference, {})))
        body.append(cells)
    return tabulate(body, headers=headers, tablefmt="github", disable_numparse=True)


def first_ari(run: RowResult) -> float | None:
    """Agreement of a run's first clusters with the truth; None where nothing was clustered or is known."""
    return run.curves["ARI"][0][1] if "ARI" in run.curves else None


def compared(runs: Mapping[int, RowResult]) -> dict[int, float]:
    """The metric of the differences, by seed."""
    return {seed: run.metrics[COMPARED] for seed, run in runs.items()}


def _signed(value: float) -> str:
    """With one digit; never -0.0."""
    return f"{round(float(value), 1) + 0.0:+.1f}"


def _rounded(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def _notes(grid: Grid, several: bool) -> list[str]:
    """What the grid says of its rows and, if there are several reference rows, which is whose."""
    notes = []
    for row in grid.rows:
        parts = [row.note] if row.note else []
        if several and row.reference:
            parts.append(f"compared with {row.reference}")
        if parts:
            notes.append(f"- {row.name}: {'; '.join(parts)}")
    return ["\n".join(notes)] if notes else []


def _caption(compared: bool) -> str:
    text = "Metrics in percent: mean ± standard deviation over seeds."
    if not compared:
        return text
    return (
        f"{text} p: two-sided paired t-test over the n seeds that both rows have, from {MIN_PAIRS} on; "
        "no correction for the number of rows."
    )
