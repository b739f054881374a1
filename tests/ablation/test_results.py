"""Result files are the row's, whole, or refused."""

import json

import pytest
from ablation.errors import EvidenceError
from ablation.results import read_results
from small_grid import BASELINE

ROWS = {"MMT": None, "baseline": BASELINE, "direct": {"kind": "source"}, "BN": {"kind": "bn_statistics"}}


def test_results_are_read_as_they_were_written(make_grid, write_results):
    grid = make_grid(ROWS)
    results = read_results(write_results(grid, {"MMT": {1: 50.0, 2: 51.0}, "BN": {1: 40.0}}), grid)
    assert {name: sorted(runs) for name, runs in results.items()} == {
        "MMT": [1, 2],
        "baseline": [],
        "direct": [],
        "BN": [1],
    }
    assert results["MMT"][2].metrics["mAP"] == 51.0
    assert results["MMT"][1].sources[1]["SEED"] == 2
    assert results["MMT"][2].sources[0]["SEED"] == 3


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SYNTHETIC.TRAIN_IDS": 12}, r"SYNTHETIC\.TRAIN_IDS was 10, is 12"),
        ({"MMT.SOURCE.OPTS": ["SOLVER.BASE_LR", 0.1]}, r"SOLVER\.BASE_LR was 0\.00035, is 0\.1"),
    ],
)
def test_a_result_of_another_recipe_is_refused(make_grid, write_results, row, change, message):
    folder = write_results(make_grid(ROWS), {row: {2: 50.0}})
    rows = {name: {**(entry or {}), "overrides": change} for name, entry in ROWS.items()}
    with pytest.raises(EvidenceError, match=rf"seed2\.json: row {row!r} of .*grid\.yml .*{message}"):
        read_results(folder, make_grid(rows))


def test_a_row_with_another_seed_inside_is_refused(make_grid, write_results):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"MMT": {1: 50.0}})
    (folder / "grid" / "mmt_seed1.json").rename(folder / "grid" / "mmt_seed2.json")
    with pytest.raises(EvidenceError, match="SEED was 1, is 2; source model's SEED was 1, is 3"):
        read_results(folder, grid)


def test_what_does_not_change_numbers_may_change(make_grid, write_results):
    folder = write_results(make_grid(ROWS), {"MMT": {1: 50.0}})
    changes = {"DATALOADER.NUM_WORKERS": 3, "SOLVER.CHECKPOINT_KEEP": 7, "MODEL.DEVICE": "auto"}
    rows = {**ROWS, "MMT": {"overrides": changes}}
    assert read_results(folder, make_grid(rows))["MMT"][1].metrics["mAP"] == 50.0


def test_a_key_that_an_older_file_lacks_counts_as_its_default(make_grid, write_results):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"MMT": {1: 50.0}})
    path = folder / "grid" / "mmt_seed1.json"
    record = json.loads(path.read_text())
    del record["recipe"]["MMT.TRIPLET_WEIGHT"]
    path.write_text(json.dumps(record))
    assert read_results(folder, grid)["MMT"]
    rows = {"MMT": {"overrides": {"MMT.TRIPLET_WEIGHT": 0.5}}}
    with pytest.raises(EvidenceError, match=r"MMT\.TRIPLET_WEIGHT was 1\.0, is 0\.5"):
        read_results(folder, make_grid(rows))


def test_a_file_that_belongs_to_no_row_is_refused(make_grid, write_results):
    folder = write_results(make_grid(ROWS), {"MMT": {1: 50.0}})
    with pytest.raises(EvidenceError, match=r"mmt_seed1\.json belongs to no row of .*grid\.yml"):
        read_results(folder, make_grid({"baseline": BASELINE}))


@pytest.mark.parametrize("text", ["{", "[]", '{"row": "MMT"}'])
def test_a_damaged_file_is_named(make_grid, write_results, text):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"MMT": {1: 50.0}})
    (folder / "grid" / "mmt_seed1.json").write_text(text)
    with pytest.raises(EvidenceError, match=r"mmt_seed1\.json is no result file"):
        read_results(folder, grid)
