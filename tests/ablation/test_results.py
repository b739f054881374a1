"""Results are the row's, whole, or refused."""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from multiprocessing import get_context

import pytest
from ablation import result_files
from ablation.errors import AblationError
from ablation.result_files import DEFAULTS, add_result, read_results, results_by_digest
from small_grid import BASELINE, make_result

ROWS = {"MMT": None, "baseline": BASELINE, "direct": {"kind": "source"}, "BN": {"kind": "bn_statistics"}}


def edit(folder, **changes) -> None:
    """Change attributes of the only line."""
    path = folder / "grid.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}) + "\n")


def test_results_are_read_as_they_were_written(make_grid, write_results):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"BN": {1: 40.0}, "MMT": {2: 51.0, 1: 50.0}})
    results = read_results(folder, grid)
    assert {name: sorted(runs) for name, runs in results.items()} == {
        "MMT": [1, 2],
        "baseline": [],
        "direct": [],
        "BN": [1],
    }
    mmt, _, _, bn = grid.rows
    assert results["MMT"] == {1: make_result(mmt, 1, 50.0), 2: make_result(mmt, 2, 51.0)}
    lines = [json.loads(line) for line in (folder / "grid.jsonl").read_text().splitlines()]
    assert [(line["row"], line["seed"]) for line in lines] == [("MMT", 1), ("MMT", 2), ("BN", 1)]
    assert lines[0]["config"] == "configs/synthetic/plaza2metro_mmt.yml"
    assert lines[0]["overrides"] == dict(mmt.overrides)
    again = replace(make_result(bn, 1, 41.0), clusters=None)
    add_result(folder, grid, again)
    assert read_results(folder, grid)["BN"] == {1: again}


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
    with pytest.raises(AblationError, match=rf"line 1: row {row!r} of .*grid\.yml with seed 2 .*{message}"):
        read_results(folder, make_grid(rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, r"with seed 2 has another recipe now: its digest \w{16} no longer fits"),
        ({"digest": "0123456789abcdef"}, "its digest 0123456789abcdef no longer fits"),
        ({"overrides": {"NO.SUCH_KEY": 1}, "digest": ""}, "what was run cannot be read any more"),
        ({"config": "configs/gone.yml", "digest": ""}, "what was run cannot be read any more"),
        ({"kind": "source", "digest": ""}, "kind was source, is train"),
    ],
)
def test_a_line_that_does_not_fit_its_row_says_why(make_grid, write_results, change, message):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"MMT": {1: 50.0}})
    edit(folder, **change)
    with pytest.raises(AblationError, match=message):
        read_results(folder, grid)


def test_what_does_not_change_numbers_may_change(make_grid, write_results):
    folder = write_results(make_grid(ROWS), {"MMT": {1: 50.0}})
    changes = {"DATALOADER.NUM_WORKERS": 3, "SOLVER.CHECKPOINT_KEEP": 7, "MODEL.DEVICE": "auto"}
    rows = {**ROWS, "MMT": {"overrides": changes}}
    assert read_results(folder, make_grid(rows))["MMT"][1].metrics["mAP"] == 50.0


def test_a_key_that_is_newer_than_a_result_counts_as_its_default(make_grid, write_results):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"MMT": {1: 50.0}})
    defaults = json.loads((folder / DEFAULTS).read_text())
    del defaults["MMT.TRIPLET_WEIGHT"]
    (folder / DEFAULTS).write_text(json.dumps(defaults))
    assert read_results(folder, grid)["MMT"]
    rows = {"MMT": {"overrides": {"MMT.TRIPLET_WEIGHT": 0.5}}}
    with pytest.raises(AblationError, match=r"MMT\.TRIPLET_WEIGHT was 1\.0, is 0\.5"):
        read_results(folder, make_grid(rows))
    add_result(folder, grid, make_result(grid.rows[0], 2, 51.0))
    assert json.loads((folder / DEFAULTS).read_text())["MMT.TRIPLET_WEIGHT"] == 1.0


def test_a_default_that_has_changed_since_is_named(make_grid, write_results):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"MMT": {1: 50.0}})
    defaults = json.loads((folder / DEFAULTS).read_text())
    (folder / DEFAULTS).write_text(json.dumps({**defaults, "MMT.TRIPLET_WEIGHT": 0.25}))
    with pytest.raises(AblationError, match=r"the default of MMT\.TRIPLET_WEIGHT was 0\.25, is 1\.0"):
        read_results(folder, grid)


def test_a_line_that_belongs_to_no_row_or_stands_twice_is_refused(make_grid, write_results):
    folder = write_results(make_grid(ROWS), {"MMT": {1: 50.0}})
    with pytest.raises(AblationError, match=r"grid\.jsonl, line 1: 'MMT' is no row of .*grid\.yml"):
        read_results(folder, make_grid({"baseline": BASELINE}))
    path = folder / "grid.jsonl"
    path.write_text(2 * path.read_text())
    with pytest.raises(AblationError, match=r"line 2: row 'MMT' with seed 1 stands twice"):
        read_results(folder, make_grid(ROWS))


@pytest.mark.parametrize("text", ["{", "[]", '{"row": "MMT"}', '{"row": "MMT", "curves": [{"mAP": [1]}]}'])
def test_a_damaged_line_is_named(make_grid, write_results, text):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"MMT": {1: 50.0}})
    with (folder / "grid.jsonl").open("a") as file:
        file.write(text)
    for use in (lambda: read_results(folder, grid), lambda: results_by_digest(folder)):
        with pytest.raises(AblationError, match=r"grid\.jsonl, line 2 is no result, which has row, seed,"):
            use()


def test_a_file_is_whole_whoever_is_killed_while_writing_it(make_grid, write_results, monkeypatch):
    grid = make_grid(ROWS)
    folder = write_results(grid, {"MMT": {1: 50.0}})
    before = (folder / "grid.jsonl").read_text()
    line, written = result_files._line, []

    def killed(result):
        if written:
            raise KeyboardInterrupt
        written.append(result)
        return line(result)

    monkeypatch.setattr(result_files, "_line", killed)
    with pytest.raises(KeyboardInterrupt):
        add_result(folder, grid, make_result(grid.rows[0], 2, 51.0))
    assert (folder / "grid.jsonl").read_text() == before
    assert not list(folder.glob("*.unfinished"))


def test_processes_that_keep_results_at_once_lose_none(make_grid, tmp_path):
    grid, folder, seeds = make_grid(ROWS), tmp_path / "results", range(1, 13)
    result = make_result(grid.rows[0], 1, 50.0)
    with ProcessPoolExecutor(4, get_context("fork")) as pool:
        list(pool.map(add_result, repeat(folder), repeat(grid), [replace(result, seed=s) for s in seeds]))
    lines = map(json.loads, (folder / "grid.jsonl").read_text().splitlines())
    assert [line["seed"] for line in lines] == list(seeds)
