"""From grids to results: what is there is kept, what is missing is run."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import AblationError
from .grid import Grid, Row
from .jobs import Job, row_job
from .result_files import add_result, known_defaults, read_results, results_by_digest
from .results import collect, records_noise, take_over
from .runner import Failure, run_jobs
from .settings import expected_settings, row_config, settings_digest, source_differences


def fill_grids(
    grids: Sequence[Grid],
    rows: Sequence[str],
    seeds: Sequence[int],
    output: Path,
    results: Path,
    processes: int,
) -> list[Failure]:
    """Run what the grids' results lack, seed by seed. Each finished run's result is kept at once. Rows of
    several grids that have the same settings are run once.

    Args:
        grids: to be filled.
        rows: names of those to run; empty: all.
        seeds: to run.
        output: folder of all runs. A finished run that lies at a row's place there is taken as it is.
        results: folder of the results.
        processes: at a time.

    Returns:
        What failed.

    Raises:
        AblationError: a row is unknown, or a result or a finished run at a row's place is another recipe's.
    """
    missing = list(_missing(grids, rows, seeds, results))
    others, defaults = results_by_digest(results), known_defaults(results)
    shared = _shared_jobs(missing, output, defaults)
    wanted: dict[Job, list[tuple[Grid, Row, int]]] = defaultdict(list)
    for grid, row, seed in missing:
        job = row_job(grid, row, seed, output)
        if not job.finished and (what := _what_it_makes(row, seed, defaults)):
            digest, with_noise = what
            if digest in others and (records_noise(others[digest]) or not with_noise):
                path = add_result(results, grid, take_over(others[digest], row))
                print(f"kept: {row.name}, seed {seed}, in {path}, of another grid's recipe", flush=True)
                continue
            job = shared[digest]
        if row.kind != "ranking":
            _check_sources(row, seed, job)
        wanted[job].append((grid, row, seed))

    def keep(job: Job) -> None:
        for grid, row, seed in wanted[job]:
            path = add_result(results, grid, collect(grid, row, seed, job, defaults))
            print(f"kept: {row.name}, seed {seed}, in {path}", flush=True)

    for job in wanted:
        if job.finished:
            keep(job)
    return run_jobs([job for job in wanted if not job.finished], processes, keep)


def _missing(
    grids: Sequence[Grid], rows: Sequence[str], seeds: Sequence[int], results: Path
) -> Iterator[tuple[Grid, Row, int]]:
    """Rows and seeds without a result."""
    for grid in grids:
        known = read_results(results, grid)
        for seed in seeds:
            for row in grid.named(rows) if rows else grid.rows:
                if seed not in known[row.name]:
                    yield grid, row, seed


def _shared_jobs(
    missing: Sequence[tuple[Grid, Row, int]], output: Path, defaults: Mapping[str, Any]
) -> dict[str, Job]:
    """By digest, the one run that serves all its rows: one that records wrong labels, if any does."""
    first: dict[tuple[str, bool], Job] = {}
    for grid, row, seed in missing:
        if what := _what_it_makes(row, seed, defaults):
            first.setdefault(what, row_job(grid, row, seed, output))
    return {digest: first.get((digest, True), job) for (digest, _), job in first.items()}


def _what_it_makes(row: Row, seed: int, defaults: Mapping[str, Any]) -> tuple[str, bool] | None:
    """The digest of a row's settings, and whether its runs record wrong labels; None where the recipe does
    not tell which weights are given.
    """
    cfg = row_config(row, seed)
    if row.kind == "train" and cfg.MMT.WEIGHTS:
        return None
    digest = settings_digest(expected_settings(row, seed), defaults)
    return digest, row.kind == "train" and cfg.REPORT.LABEL_NOISE


def _check_sources(row: Row, seed: int, job: Job) -> None:
    for pair, source in enumerate(job.needs):
        changes = source_differences(row, seed, pair, source.folder) if source.finished else []
        if changes:
            raise AblationError(
                f"{source.folder} holds a source model of another recipe than row {row.name!r} needs: "
                f"{'; '.join(changes[:5])}. Delete that folder to pre-train it anew"
            )
