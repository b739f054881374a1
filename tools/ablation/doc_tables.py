"""Tables inside a page of documentation, between markers that stay:

    <!-- table: mmt -->
    ...
    <!-- end -->

is replaced by the table of configs/ablation/mmt.yml, with the commands of its rows. "summary: mmt" stands for
a shorter one without commands, "curves: mmt" for the evaluations while its runs trained, "label noise: mmt"
for how wrong the labels of its runs were, and "differences: mmt" for a plot of its differences, which lies
beside the page.
"""

import re
from pathlib import Path

from .difference_plot import describe, draw_differences
from .errors import AblationError
from .grid import load_grid
from .jobs import REPOSITORY
from .learning_curves import draw_curve_table
from .noise import draw_label_noise
from .result_files import read_results
from .table import NO_RUNS, draw_commands, draw_summary, draw_table

GRIDS = REPOSITORY / "configs" / "ablation"
START = re.compile(
    r"^<!-- (?P<kind>table|summary|curves|label noise|differences): (?P<name>[\w-]+) -->$", re.MULTILINE
)
END = "<!-- end -->"
# Of the plots, below the folder of the page.
PLOTS = "plots"


def draw_page(text: str, results: Path) -> str:
    """The page with its tables drawn anew.

    Args:
        text: of the page.
        results: folder of the result files.

    Raises:
        AblationError: a table's end is missing, there is no such grid, or a result is of another recipe.
    """
    parts, position = [], 0
    for found in START.finditer(text):
        end = text.find(END, found.end())
        following = START.search(text, found.end())
        if end < 0 or (following and following.start() < end):
            raise AblationError(f"{found.group()} has no {END} after it")
        parts += [text[position : found.end()], f"\n\n{_draw(found['kind'], found['name'], results)}\n\n"]
        position = end
    return "".join([*parts, text[position:]])


def draw_plots(text: str, results: Path) -> dict[str, str]:
    """The plots of a page, as SVG, by their path below the folder of the page."""
    plots = {}
    for found in START.finditer(text):
        if found["kind"] == "differences":
            grid = load_grid(GRIDS / f"{found['name']}.yml")
            plots[f"{PLOTS}/{grid.name}.svg"] = draw_differences(grid, read_results(results, grid))
    return plots


def _draw(kind: str, name: str, folder: Path) -> str:
    grid = load_grid(GRIDS / f"{name}.yml")
    results = read_results(folder, grid)
    if kind == "label noise":
        return draw_label_noise(grid, results) or "No run of this grid recorded it."
    if kind == "curves":
        return draw_curve_table(grid, results) or NO_RUNS
    if kind == "differences":
        return f"![{describe(grid)}]({PLOTS}/{grid.name}.svg)"
    if kind == "summary":
        return draw_summary(grid, results)
    table = draw_table(grid, results)
    return f"{table}\n\n{draw_commands(grid, results)}" if any(results.values()) else table
