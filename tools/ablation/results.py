"""What is kept of a run: small, outlives the run's folder, and tables are drawn from it alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmt_plugin.engine.hooks.label_noise import NAMES as NOISE
from mmt_plugin.engine.hooks.label_noise import PREFIX
from mmt_plugin.runs.metrics import Scalars
from mmt_plugin.runs.run import Run, RunError
from mmt_plugin.runs.run_files import RESULTS
from mmt_plugin.version import __version__

from .errors import AblationError
from .grid import Grid, Row
from .jobs import Job, from_repository
from .settings import differences, expected_settings, settings_digest, settings_of_run, source_name

METRICS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")
# Scalars of a label step that are kept.
LABEL_SCALARS = ("ARI", "NMI", "clusters", "outliers")
# Scalars of an epoch's training that are kept.
TRAINING_SCALARS = ("mAP", *(PREFIX + name for name in NOISE))
# Digits after the decimal point; metrics are in percent.
DIGITS = 4


@dataclass(frozen=True)
class RowResult:
    """One row's run with one seed.

    Attributes:
        row: its name.
        seed: of the run.
        kind, config, overrides: of the row as it was run, see `Row`; the file from the repository's root.
        digest: of all settings behind the numbers, see `settings_digest`.
        metrics: in percent, by fastreid's names.
        clusters: after the last label step; None where nothing was clustered.
        minutes: that it took; None of a ranking.
        images_per_bn: images that share BN statistics; None if it was not recorded.
        versions: of torch, as the run's log has it (None: no log), and of the plugin that kept the result.
        curves: by scalar, pairs [iterations that were complete, value]: mAP, what label steps tell, and how
            wrong the labels were.
    """

    row: str
    seed: int
    kind: str
    config: str
    overrides: dict[str, Any]
    digest: str
    metrics: dict[str, float]
    clusters: int | None
    minutes: float | None
    images_per_bn: int | None
    versions: dict[str, str | None]
    curves: dict[str, list[list[float]]]


def collect(grid: Grid, row: Row, seed: int, job: Job, defaults: Mapping[str, Any]) -> RowResult:
    """Read a finished run's folder.

    Args:
        grid, row, seed: of the run.
        job: which it was.
        defaults: of the folder of results, for the digest.

    Raises:
        AblationError: other settings made it, or a file is missing or damaged.
    """
    expected = expected_settings(row, seed)
    changes = differences(settings_of_run(job.folder), expected, source_name(row))
    if changes:
        raise AblationError(
            f"{job.folder} holds a run of another recipe than row {row.name!r} of {grid.path} with seed "
            f"{seed}: {'; '.join(changes[:5])}. Delete that folder to run the row anew"
        )
    run, path = Run(job.folder), job.folder / job.record
    is_training = job.record == RESULTS
    try:
        record = run.results if is_training else run.evaluation
        metrics = {name: round(record["metrics"][name], DIGITS) for name in METRICS}
        clusters, minutes = record.get("clusters"), record.get("minutes")
    except (OSError, RunError, KeyError, TypeError) as error:
        raise AblationError(f"{path} cannot be read: {type(error).__name__} {error}") from error
    scalars = run.scalars if is_training else Scalars(0, {}, {})
    per_bn = scalars.training.get("images_per_bn")
    return RowResult(
        row=row.name,
        seed=seed,
        **recipe_of(row),
        digest=settings_digest(expected, defaults),
        metrics=metrics,
        clusters=clusters,
        minutes=None if minutes is None else round(minutes, DIGITS),
        images_per_bn=round(per_bn.values[-1]) if per_bn else None,
        versions={"torch": run.torch_version, "mmt_plugin": __version__},
        curves=_curves(scalars),
    )


def recipe_of(row: Row) -> dict[str, Any]:
    """Those of a result's attributes that say how its row was run."""
    return {"kind": row.kind, "config": from_repository(row.config), "overrides": dict(row.overrides)}


def take_over(result: RowResult, row: Row) -> RowResult:
    """Another grid's result as that of a row of the same settings and seed."""
    return replace(result, row=row.name, **recipe_of(row))


def records_noise(result: RowResult) -> bool:
    """Whether a run recorded how many of its labels were wrong (REPORT.LABEL_NOISE)."""
    return f"{PREFIX}wrong" in result.curves


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
