"""A grid on the tiny world, and results that nobody had to train for."""

from ablation.grid import Row
from ablation.results import RowResult, recipe_of
from ablation.settings import default_keys, expected_settings, settings_digest
from tiny import REPOSITORY, TINY, as_options

SYNTHETIC = REPOSITORY / "configs" / "synthetic"
SOURCE_OPTS = {"SOLVER.ITERS_PER_EPOCH": 2, "SOLVER.MAX_EPOCH": 1, "SOLVER.IMS_PER_BATCH": 8}
SOURCE_OPTS |= {"DATALOADER.NUM_INSTANCE": 2, "SOLVER.WARMUP_ITERS": 0, "TEST.EVAL_PERIOD": 1}
OVERRIDES = {**TINY, "MMT.SOURCE.OPTS": as_options(SOURCE_OPTS), "TEST.EVAL_PERIOD": 1}
BASELINE = {"config": str(SYNTHETIC / "plaza2metro_baseline.yml")}


def make_result(row: Row, seed: int, value: float) -> RowResult:
    """What a run of a row might have left."""
    metrics = {"mAP": value, "Rank-1": value + 1, "Rank-5": value + 2, "Rank-10": value + 3, "mINP": value}
    return RowResult(
        row=row.name,
        seed=seed,
        **recipe_of(row),
        digest=settings_digest(expected_settings(row, seed), default_keys()),
        metrics=metrics,
        clusters=None if row.kind != "train" else 200 + seed,
        minutes=2.0,
        images_per_bn=32,
        versions={"torch": "2.14.1", "mmt_plugin": "0.1.0"},
        curves={"mAP": [[50, value - 10], [100, value]], "ARI": [[0, 0.5]]} if row.kind == "train" else {},
    )
