"""From grids to result files: what is there is kept, what is missing is run."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmt_plugin.config import load_config

from .errors import EvidenceError
from .grid import Grid, Row
from .recipe import expected_recipe, recipe_key, source_differences
from .results import (
    collect,
    read_results,
    records_noise,
    result_file,
    results_by_recipe,
    take_over,
    write_result,
)
from .runner import Failure, run_stages
from .stages import Stage, row_stage


def fill(
    grids: Sequence[Grid],
    rows: Sequence[str],
    seeds: Sequence[int],
    output: Path,
    results: Path,
    jobs: int,
) -> list[Failure]:
    """Run what the grids' result files lack, seed by seed. Each finished run leaves its file at once. Rows of
    several grids that have the same recipe are run once.

    Args:
        grids: to be filled.
        rows: names of those to run; empty: all.
        seeds: to run.
        output: folder of all runs. A finished run that lies at a row's place there is taken as it is.
        results: folder of the result files.
        jobs: processes at a time.

    Returns:
        What failed.

    Raises:
        EvidenceError: a row is unknown, or a result or a finished run at a row's place is another recipe's.
    """
    missing = list(_missing(grids, rows, seeds, results))
    others = results_by_recipe(results)
    shared = _shared_stages(missing, output)
    wanted: dict[Stage, list[tuple[Grid, Row, int]]] = defaultdict(list)
    for grid, row, seed in missing:
        stage = row_stage(grid, row, seed, output)
        if not stage.finished and (what := _what_it_makes(row, seed)):
            key, with_noise = what
            if key in others and (records_noise(others[key]) or not with_noise):
                path = result_file(results, grid, row, seed)
                write_result(path, take_over(others[key], grid, row, seed))
                print(f"kept: {path}, of the same recipe as another grid's", flush=True)
                continue
            stage = shared[key]
        if row.kind != "ranking":
            _check_sources(row, seed, stage)
        wanted[stage].append((grid, row, seed))

    def keep(stage: Stage) -> None:
        for grid, row, seed in wanted[stage]:
            path = result_file(results, grid, row, seed)
            write_result(path, collect(grid, row, seed, stage))
            print(f"kept: {path}", flush=True)

    for stage in wanted:
        if stage.finished:
            keep(stage)
    return run_stages([stage for stage in wanted if not stage.finished], jobs, keep)


def _missing(
    grids: Sequence[Grid], rows: Sequence[str], seeds: Sequence[int], results: Path
) -> Iterator[tuple[Grid, Row, int]]:
    """Rows and seeds without a result file."""
    for grid in grids:
        known = read_results(results, grid)
        for seed in seeds:
            for row in grid.named(rows) if rows else grid.rows:
                if seed not in known[row.name]:
                    yield grid, row, seed


def _shared_stages(missing: Sequence[tuple[Grid, Row, int]], output: Path) -> dict[str, Stage]:
    """By recipe, the one run that serves all its rows: one that records wrong labels, if any does."""
    first: dict[tuple[str, bool], Stage] = {}
    for grid, row, seed in missing:
        if what := _what_it_makes(row, seed):
            first.setdefault(what, row_stage(grid, row, seed, output))
    return {key: first.get((key, True), stage) for (key, _), stage in first.items()}


def _what_it_makes(row: Row, seed: int) -> tuple[str, bool] | None:
    """The key of a row's recipe, and whether its runs record wrong labels; None where the recipe does not
    tell which weights are given.
    """
    cfg = load_config(row.config, row.options(seed))
    if row.kind != "train":
        return recipe_key(expected_recipe(row, seed)), False
    return None if cfg.MMT.WEIGHTS else (recipe_key(expected_recipe(row, seed)), cfg.REPORT.LABEL_NOISE)


def _check_sources(row: Row, seed: int, stage: Stage) -> None:
    for pair, source in enumerate(stage.needs):
        changes = source_differences(row, seed, pair, source.folder) if source.finished else []
        if changes:
            raise EvidenceError(
                f"{source.folder} holds a source model of another recipe than row {row.name!r} needs: "
                f"{'; '.join(changes[:5])}. Delete that folder to pre-train it anew"
            )
