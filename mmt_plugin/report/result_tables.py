"""Tables of results, a task at a time: runs measured here beside published numbers."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from tabulate import tabulate

from mmt_plugin.errors import UserError

METRICS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")
HEADERS = (
    *("numbers", "method", "backbone", *METRICS, "epochs", "images per BN"),
    *("model chosen", "seeds", "reference"),
)
# What the formats are called by tabulate.
FORMATS = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}
UNKNOWN = "-"


class LeaderboardError(UserError, ValueError):
    """Results that cannot stand in one table; the message names the run."""


@dataclass(frozen=True)
class Result:
    """One run's metrics on one test set.

    Attributes:
        folder: of the run.
        run: its description, as `describe_run` gives it.
        test: name of the test set.
        metrics: in percent, by fastreid's names.
    """

    folder: str
    run: dict
    test: str
    metrics: dict[str, float]

    @property
    def task(self) -> tuple[str, str, str]:
        """Source, target, test set; a task without source or target has "" there."""
        return "+".join(self.run["source"]), "+".join(self.run["target"]), self.test


def results_of(folder: str, record: dict, run: dict) -> list[Result]:
    """A run's results, one for each test set.

    Args:
        folder: of the run.
        record: its results.json.
        run: its description.

    Raises:
        LeaderboardError: metrics are missing.
    """
    metrics = record["metrics"]
    by_test = {run["tests"][0]: metrics} if len(run["tests"]) == 1 else metrics
    for test in run["tests"]:
        absent = [name for name in METRICS if name not in by_test.get(test, {})]
        if absent:
            raise LeaderboardError(f"{folder}: results.json lacks {', '.join(absent)} on {test}")
    return [Result(folder, run, test, by_test[test]) for test in run["tests"]]


def read_published() -> list[dict[str, str]]:
    """Published numbers, a row each, with their reference; "" where one is not known."""
    with resources.files(__package__).joinpath("published.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def leaderboard(results: Sequence[Result], table_format: str = "text") -> str:
    """All tasks that the results have, a table each.

    Runs that differ in nothing but their seeds are one row: mean and, of several, standard deviation over
    seeds. Published rows follow, marked in the first column.

    Raises:
        LeaderboardError: two runs of one recipe have the same seed.
    """
    tasks: dict[tuple, list[Result]] = defaultdict(list)
    for result in results:
        tasks[result.task].append(result)
    published = read_published()
    return "\n\n".join(
        _titled(title(task), _measured_rows(mine) + _published_rows(task, published), table_format)
        for task, mine in tasks.items()
    )


def title(task: tuple[str, str, str]) -> str:
    """For instance "Market1501 -> DukeMTMC", with the test set where it is another."""
    source, target, test = task
    if not target:
        name = f"{source} (supervised)"
    else:
        name = f"{source} -> {target}" if source else f"{target} (unsupervised)"
    return name if test == (target or source) else f"{name}, tested on {test}"


def _measured_rows(results: Sequence[Result]) -> list[list[str]]:
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[result.run["recipe"]].append(result)
    rows = []
    for group in sorted(groups.values(), key=lambda group: -np.mean([r.metrics["mAP"] for r in group])):
        run = group[0].run
        cells = [_summary([result.metrics[name] for result in group]) for name in METRICS]
        about = [run["epochs"], run["images_per_bn"], run["selection"]]
        rows.append(["measured", run["method"], run["backbone"], *cells, *about, _seeds(group), ""])
    return rows


def _published_rows(task: tuple[str, str, str], published: Sequence[dict[str, str]]) -> list[list[str]]:
    rows = [row for row in published if (row["source"], row["target"], row["test"]) == task]
    about = ("epochs", "images_per_bn", "selection")
    return [
        ["published", row["method"], row["backbone"]]
        + [row.get(name, "") for name in (*METRICS, *about)]
        + ["", row["reference"]]
        for row in sorted(rows, key=lambda row: -float(row["mAP"]))
    ]


def _seeds(group: Sequence[Result]) -> str:
    folders: dict[str, str] = {}
    for result in group:
        seed = str(result.run["seed"])
        if seed in folders:
            raise LeaderboardError(
                f"{folders[seed]} and {result.folder} are the same recipe with the same seed, {seed}: one of "
                "them would count twice"
            )
        folders[seed] = result.folder
    return ", ".join(sorted(folders))


def _summary(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.1f}"


def in_markdown(text: str) -> str:
    """A text that stays a text in a cell of a table: no column ends in it, and no tag of HTML begins."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), ("|", r"\|")):
        text = text.replace(character, written)
    return " ".join(text.split())


def _titled(name: str, rows: Sequence[Sequence[object]], table_format: str) -> str:
    body = [[UNKNOWN if cell in ("", None) else str(cell) for cell in row] for row in rows]
    if table_format == "markdown":
        name, body = in_markdown(name), [list(map(in_markdown, row)) for row in body]
    table = tabulate(body, headers=HEADERS, tablefmt=FORMATS[table_format], disable_numparse=True)
    heading = {"markdown": f"### {name}\n", "latex": f"% {name}"}.get(table_format, name)
    return f"{heading}\n{table}"
