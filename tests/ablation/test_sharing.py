"""Rows of one recipe are run once."""

import pytest
from ablation import evidence
from small_grid import BASELINE

NOISY = {**BASELINE, "overrides": {"REPORT.LABEL_NOISE": True}}


@pytest.mark.parametrize(
    ("rows", "run"),
    [
        ({"a": BASELINE, "b": BASELINE}, ["a"]),
        ({"a": BASELINE, "b": NOISY, "c": BASELINE}, ["b"]),
        ({"a": NOISY, "b": {**NOISY, "overrides": {"MMT.CE_EPSILON": 0.0}}}, ["a", "b"]),
    ],
    ids=["the first", "the one that records wrong labels", "each recipe"],
)
def test_what_runs_for_rows_of_one_recipe(rows, run, make_grid, monkeypatch, tmp_path):
    monkeypatch.setattr(evidence, "run_stages", lambda stages, jobs, finish: stages)
    stages = evidence.fill([make_grid(rows)], [], [1], tmp_path / "runs", tmp_path / "results", jobs=1)
    assert [stage.folder.name for stage in stages] == run
