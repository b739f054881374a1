"""Result files: what is kept of a run. They are small, outlive the run's folder, and tables are drawn from
them alone.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mmt_plugin.engine.hooks.label_noise import NAMES as NOISE
from mmt_plugin.engine.hooks.label_noise import PREFIX
from mmt_plugin.runs.files import RESULTS
from mmt_plugin.runs.metrics import Scalars
from mmt_plugin.runs.run import Run, RunError
from mmt_plugin.system.files import replace_when_complete
from mmt_plugin.version import __version__

from .errors import EvidenceError
from .grid import Grid, Row
from .recipe import Recipe, differences, recipe_key, recorded_recipe
from .stages import Stage, command_by_hand

METRICS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")
# Scalars of a label step that are kept.
LABEL_SCALARS = ("ARI", "NMI", "clusters", "unclustered")
# Scalars of an epoch's training that are kept.
TRAINING_SCALARS = ("mAP", *(PREFIX + name for name in NOISE))
# Digits after the decimal point; metrics are in percent.
DIGITS = 4
NAME = re.compile(r"(?P<slug>.+)_seed(?P<seed>\d+)\.json")


@dataclass(frozen=True)
class Result:
    """One row's run with one seed.

    Attributes:
        row: its name.
        seed: of the run.
        command: which repeats it.
        metrics: in percent, by fastreid's names.
        clusters: after the last label step; None where nothing was clustered.
        minutes: that it took; None of a ranking.
        images_per_bn: images that share BN statistics; None if it was not recorded.
        curves: by scalar, pairs [iterations that were complete, value]: mAP, what label steps tell, and how
            wrong the labels were.
        versions: of torch, as the run's log has it (None: no log), and of the plugin that wrote this file.
        recipe: the configuration's keys, see `Recipe`.
        sources: of each source model the keys whose values are not the recipe's.
    """

    row: str
    seed: int
    command: str
    metrics: dict[str, float]
    clusters: int | None
    minutes: float | None
    images_per_bn: int | None
    curves: dict[str, list[list[float]]]
    versions: dict[str, str | None]
    recipe: dict[str, Any]
    sources: list[dict[str, Any]]


def result_file(folder: Path, grid: Grid, row: Row, seed: int) -> Path:
    """Where a result is kept."""
    return folder / grid.name / f"{row.slug}_seed{seed}.json"


def collect(grid: Grid, row: Row, seed: int, stage: Stage) -> Result:
    """Read a finished run's folder.

    Raises:
        EvidenceError: another recipe made it, or a file is missing or damaged.
    """
    recipe = recorded_recipe(stage.folder)
    changes = differences(row, seed, recipe)
    if changes:
        raise EvidenceError(
            f"{stage.folder} holds a run of another recipe than row {row.name!r} of {grid.path} with seed "
            f"{seed}: {'; '.join(changes[:5])}. Delete that folder to run the row anew"
        )
    run, path = Run(stage.folder), stage.folder / stage.record
    is_training = stage.record == RESULTS
    try:
        record = run.results if is_training else run.evaluation
        metrics = {name: round(record["metrics"][name], DIGITS) for name in METRICS}
        clusters, minutes = record.get("clusters"), record.get("minutes")
    except (OSError, RunError, KeyError, TypeError) as error:
        raise EvidenceError(f"{path} cannot be read: {type(error).__name__} {error}") from error
    scalars = run.scalars if is_training else Scalars(0, {}, {})
    per_bn = scalars.training.get("images_per_bn")
    return Result(
        row=row.name,
        seed=seed,
        command=command_by_hand(grid, row, seed),
        metrics=metrics,
        clusters=clusters,
        minutes=None if minutes is None else round(minutes, DIGITS),
        images_per_bn=round(per_bn.values[-1]) if per_bn else None,
        curves=_curves(scalars),
        versions={"torch": run.torch_version, "mmt_plugin": __version__},
        recipe=dict(recipe.keys),
        sources=[_packed(source, recipe.keys) for source in recipe.sources],
    )


def write_result(path: Path, result: Result) -> None:
    """One line for each attribute."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in asdict(result).items()]
    with replace_when_complete(str(path), "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def read_results(folder: Path, grid: Grid) -> dict[str, dict[int, Result]]:
    """All results of a grid, by row name and seed.

    Args:
        folder: of the result files of all grids.
        grid: whose rows they must agree with.

    Raises:
        EvidenceError: a file is damaged, belongs to no row, or was made by another recipe than its row's.
    """
    rows = {row.slug: row for row in grid.rows}
    results: dict[str, dict[int, Result]] = {row.name: {} for row in grid.rows}
    for path in sorted((folder / grid.name).glob("*.json")):
        name = NAME.fullmatch(path.name)
        row = rows.get(name["slug"]) if name else None
        if row is None:
            raise EvidenceError(f"{path} belongs to no row of {grid.path}: rename the row back, or delete it")
        result = _read(path)
        changes = differences(row, int(name["seed"]), _recipe_of(result))
        if changes:
            raise EvidenceError(
                f"{path}: row {row.name!r} of {grid.path} has another recipe now: {'; '.join(changes[:5])}. "
                "Delete the file and its run's folder, and run the row anew"
            )
        results[row.name][int(name["seed"])] = result
    return results


def results_by_recipe(folder: Path) -> dict[str, Result]:
    """All results of all grids, by `recipe_key`; of equal ones one that recorded wrong labels, if any.

    Args:
        folder: of the result files of all grids.

    Raises:
        EvidenceError: a file is damaged.
    """
    results = sorted(map(_read, sorted(folder.glob("*/*_seed*.json"))), key=records_noise)
    return {recipe_key(_recipe_of(result)): result for result in results}


def records_noise(result: Result) -> bool:
    """Whether a run recorded how many of its labels were wrong (REPORT.LABEL_NOISE)."""
    return f"{PREFIX}wrong" in result.curves


def take_over(result: Result, grid: Grid, row: Row, seed: int) -> Result:
    """Another grid's result as that of a row of the same recipe."""
    return replace(result, row=row.name, command=command_by_hand(grid, row, seed))


def _recipe_of(result: Result) -> Recipe:
    return Recipe(result.recipe, tuple(_unpacked(each, result.recipe) for each in result.sources))


def _read(path: Path) -> Result:
    try:
        return Result(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        known = ", ".join(field.name for field in fields(Result))
        raise EvidenceError(f"{path} is no result file, which has {known}: {error}") from error


def _curves(scalars: Scalars) -> dict[str, list[list[float]]]:
    found = {name: scalars.training.get(name) for name in TRAINING_SCALARS}
    found |= {name: scalars.labels.get(name) for name in LABEL_SCALARS}
    return {
        name: [
            [round(epoch * scalars.iters_per_epoch), round(value, DIGITS)]
            for epoch, value in zip(curve.epochs, curve.values, strict=True)
        ]
        for name, curve in found.items()
        if curve
    }


# Source models share most keys with the run; only the others are kept. A key that one of them lacks is null.
def _packed(source: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    keys = sorted(source.keys() | recipe.keys())
    return {key: source.get(key) for key in keys if source.get(key) != recipe.get(key)}


def _unpacked(packed: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {**recipe, **packed}
