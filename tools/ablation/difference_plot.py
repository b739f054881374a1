"""A grid's differences as a plot: for each row one dot a seed, and a bar at their mean."""

from collections.abc import Mapping
from html import escape

import numpy as np

from .grid import Grid
from .results import RowResult
from .table import COMPARED, compared, paired_differences

# Pixels: of a row, of the labels on the left, of the scale, of the margins.
ROW, LABELS, SCALE, MARGIN = 22, 360, 400, 16

# Points of mAP between marks of the scale, of which the first is taken that needs at most so many.
STEPS, MARKS = (1, 2, 5, 10, 20, 50), 8

STYLE = (
    "text{font:12px sans-serif;fill:#333}.mark{stroke:#ddd}.zero{stroke:#333}"
    ".seed{fill:#2a6fb0;fill-opacity:.55}.mean{stroke:#b3261e;stroke-width:3}"
)


def draw_differences(grid: Grid, results: Mapping[str, Mapping[int, RowResult]]) -> str:
    """An SVG of the differences in mAP between each row and its reference.

    Args:
        grid: which names the rows and their references.
        results: by row name and seed.

    Returns:
        The picture; "" where no row has a reference that was run.
    """
    rows = differences(grid, results)
    if not rows:
        return ""
    values = [value for row in rows.values() for value in row]
    step = next((step for step in STEPS if max(*values, 0) - min(*values, 0) <= MARKS * step), STEPS[-1])
    low, high = step * np.floor(min(*values, 0) / step), step * np.ceil(max(*values, 0) / step)

    def at(value: float) -> str:
        return f"{LABELS + MARGIN + SCALE * (value - low) / (high - low):.1f}"

    height = ROW * (len(rows) + 1) + 2 * MARGIN
    width = LABELS + SCALE + 3 * MARGIN
    bottom = height - MARGIN - ROW / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f'<style>{STYLE}</style><rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for mark in np.arange(low, high + step / 2, step):
        kind = "mark" if mark else "zero"
        parts.append(f'<path class="{kind}" d="M{at(mark)} {MARGIN}V{bottom}"/>')
        parts.append(f'<text x="{at(mark)}" y="{height - MARGIN}" text-anchor="middle">{mark:+.0f}</text>')
    for number, (name, row) in enumerate(rows.items()):
        y = MARGIN + ROW * (number + 0.5)
        parts.append(f'<text x="{LABELS}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts += [f'<circle class="seed" cx="{at(value)}" cy="{y}" r="5"/>' for value in row]
        parts.append(f'<path class="mean" d="M{at(np.mean(row))} {y - 8}v16"/>')
    return "\n".join([*parts, "</svg>\n"])


def differences(grid: Grid, results: Mapping[str, Mapping[int, RowResult]]) -> dict[str, list[float]]:
    """By "row - reference", the difference in mAP of each seed that both have."""
    found = {}
    for row in grid.rows:
        values, reference = compared(results[row.name]), compared(results.get(row.reference, {}))
        if row_differences := paired_differences(values, reference):
            found[f"{row.name} - {row.reference}"] = row_differences
    return found


def describe(grid: Grid) -> str:
    """What the picture shows, for those who do not see it."""
    return f"{COMPARED} of each row less that of its reference: a dot a seed, a bar at the mean; {grid.title}"
