"""The files of results: one a grid, one run a line, and the defaults that their digests stand on.

    docs/results/mmt.jsonl        a line {"row": "MMT", "seed": 1, "config": ..., "digest": ...} for each run
    docs/results/defaults.json    what every key was by default when the first result that knows it was kept

A file is replaced as a whole, under a lock, so that two processes may keep results at once and one that is
killed leaves the file as it was.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from mmt_plugin.config import ConfigError
from mmt_plugin.system.files import remove_unfinished, replace_when_complete

from .errors import AblationError
from .grid import Grid, Row
from .jobs import REPOSITORY
from .results import RowResult, records_noise
from .settings import default_keys, differences, expected_settings, settings_digest, source_name

SUFFIX = ".jsonl"
DEFAULTS = "defaults.json"
LOCK = ".lock"


def result_file(folder: Path, grid: Grid) -> Path:
    """Where a grid's results are kept."""
    return folder / f"{grid.name}{SUFFIX}"


def add_result(folder: Path, grid: Grid, result: RowResult) -> Path:
    """Keep a result, in the order of the grid's rows and of seeds; one of the same row and seed is replaced.

    Returns:
        The file.

    Raises:
        AblationError: the file there is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = result_file(folder, grid)
    order = {row.name: number for number, row in enumerate(grid.rows)}
    with FileLock(folder / LOCK):
        remove_unfinished(str(folder))
        _write_defaults(folder)
        results = {(each.row, each.seed): each for _, each in _read(path)}
        results[result.row, result.seed] = result
        ordered = sorted(results.values(), key=lambda each: (order.get(each.row, len(order)), each.seed))
        with replace_when_complete(str(path), "w") as file:
            file.writelines(f"{_line(each)}\n" for each in ordered)
    return path


def read_results(folder: Path, grid: Grid) -> dict[str, dict[int, RowResult]]:
    """All results of a grid, by row name and seed.

    Args:
        folder: of the files of all grids.
        grid: whose rows they must agree with.

    Raises:
        AblationError: a line is damaged, stands twice, belongs to no row, or was made by other settings than
            its row's.
    """
    rows = {row.name: row for row in grid.rows}
    defaults = known_defaults(folder)
    results: dict[str, dict[int, RowResult]] = {name: {} for name in rows}
    for place, result in _read(result_file(folder, grid)):
        row, seed = rows.get(result.row), result.seed
        if row is None:
            raise AblationError(
                f"{place}: {result.row!r} is no row of {grid.path}: rename the row back, or delete the line"
            )
        if seed in results[row.name]:
            raise AblationError(f"{place}: row {row.name!r} with seed {seed} stands twice: delete one line")
        if result.digest != settings_digest(expected_settings(row, seed), defaults):
            raise AblationError(
                f"{place}: row {row.name!r} of {grid.path} with seed {seed} has another recipe now: "
                f"{_what_changed(result, row, defaults)}. Delete the line and its run's folder, and run the "
                "row anew"
            )
        results[row.name][seed] = result
    return results


def results_by_digest(folder: Path) -> dict[str, RowResult]:
    """All results of all grids whose settings are known, by digest; of equal ones one that recorded wrong
    labels, if any. Of weights that were given, a recipe does not tell the settings.

    Args:
        folder: of the files of all grids.

    Raises:
        AblationError: a line is damaged.
    """
    results = [each for path in sorted(folder.glob(f"*{SUFFIX}")) for _, each in _read(path)]
    known = [each for each in results if not each.overrides.get("MMT.WEIGHTS")]
    return {each.digest: each for each in sorted(known, key=records_noise)}


def known_defaults(folder: Path) -> dict[str, Any]:
    """What every key is by default, in the digests of a folder's results. A key that is newer than they are
    has the default of today, which is what was done before there was the key.

    Raises:
        AblationError: the file is damaged.
    """
    path = folder / DEFAULTS
    try:
        recorded = json.loads(path.read_text()) if path.exists() else {}
        return {**default_keys(), **recorded}
    except (OSError, ValueError, TypeError) as error:
        raise AblationError(f"{path} does not hold defaults by key: {error}") from error


def _write_defaults(folder: Path) -> None:
    path, defaults = folder / DEFAULTS, known_defaults(folder)
    lines = [f" {json.dumps(key)}: {json.dumps(defaults[key])}" for key in sorted(defaults)]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if not path.exists() or path.read_text() != text:
        with replace_when_complete(str(path), "w") as file:
            file.write(text)


def _what_changed(result: RowResult, row: Row, defaults: Mapping[str, Any]) -> str:
    """The keys, where the recorded overrides or a default tell; configuration files keep no history."""
    was = replace(row, kind=result.kind, config=REPOSITORY / result.config, overrides=result.overrides)
    changes = [f"kind was {was.kind}, is {row.kind}"] if was.kind != row.kind else []
    expected = expected_settings(row, result.seed)
    try:
        changes += differences(expected_settings(was, result.seed), expected, source_name(row))
    except (ConfigError, FileNotFoundError, KeyError) as error:
        changes.append(f"what was run cannot be read any more ({error})")
    today = default_keys()
    changes += [
        f"the default of {key} was {defaults[key]!r}, is {today[key]!r}"
        for key in sorted(today)
        if today[key] != defaults[key]
    ]
    if changes:
        return "; ".join(changes[:5])
    return (
        f"its digest {result.digest} no longer fits, as where {result.config}, a file that it stands on, a "
        "ranked row or the line itself was changed"
    )


def _read(path: Path) -> Iterator[tuple[str, RowResult]]:
    """Each line's place and what it says."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        place = f"{path}, line {number}"
        try:
            record = json.loads(line)
            record["curves"] = _one_by_one(record["curves"])
            yield place, RowResult(**record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            known = ", ".join(field.name for field in fields(RowResult))
            raise AblationError(f"{place} is no result, which has {known}: {error}") from error


def _line(result: RowResult) -> str:
    return json.dumps({**asdict(result), "curves": _together(result.curves)})


# Curves that were recorded after the same iterations share them in the file.
def _together(curves: Mapping[str, list[list[float]]]) -> list[dict[str, list[float]]]:
    groups: dict[tuple, dict[str, list[float]]] = {}
    for name, points in curves.items():
        iterations = tuple(iteration for iteration, _ in points)
        group = groups.setdefault(iterations, {"iterations": list(iterations)})
        group[name] = [value for _, value in points]
    return list(groups.values())


def _one_by_one(groups: list[dict[str, list[float]]]) -> dict[str, list[list[float]]]:
    return {
        name: [list(point) for point in zip(group["iterations"], values, strict=True)]
        for group in groups
        for name, values in group.items()
        if name != "iterations"
    }
