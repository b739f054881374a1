"""Rows of one recipe are run once."""

import pytest
from ablation import fill
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
    monkeypatch.setattr(fill, "run_jobs", lambda jobs, processes, finish: jobs)
    jobs = fill.fill_grids([make_grid(rows)], [], [1], tmp_path / "runs", tmp_path / "results", processes=1)
    assert [job.folder.name for job in jobs] == run
