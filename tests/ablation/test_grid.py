"""Grid files: what they say, and that every mistake in one is named before anything runs."""

import pytest
from ablation.errors import AblationError
from ablation.grid import load_grid, slug
from small_grid import BASELINE
from tiny import REPOSITORY

from mmt_plugin.config import load_config

GRIDS = sorted((REPOSITORY / "configs" / "ablation").glob("*.yml"))


RANKING = {"kind": "ranking", "runs": ["a"]}


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_shipped_grids_can_be_trained(path):
    grid = load_grid(path)
    assert grid.title != path.stem
    assert len(grid.rows) > 1


def test_rows_override_the_grid_and_options_override_rows(write_grid):
    rows = {"a": None, "b": {"overrides": {"MMT.EMA.ALPHA": 0.5}}, "c": BASELINE}
    path = write_grid(rows)
    a, b, c = (load_config(row.config, row.options(3)) for row in load_grid(path).rows)
    assert (a.MMT.EMA.ALPHA, b.MMT.EMA.ALPHA, c.MMT.NUM_PAIRS) == (0.98, 0.5, 1)
    assert (a.SOLVER.IMS_PER_BATCH, a.SEED) == (8, 3)
    options = ["MMT.EMA.ALPHA", "0.7"]
    _, b, _ = (load_config(row.config, row.options(1)) for row in load_grid(path, options).rows)
    assert b.MMT.EMA.ALPHA == 0.7


def test_a_row_may_take_over_what_another_says_and_change_some_of_it(write_grid):
    path = write_grid({"a": None})
    text = path.read_text()
    text += "  b: {overrides: &b {MMT.EMA.ALPHA: 0.5, SOLVER.MAX_EPOCH: 3}}\n"
    text += "  c: {overrides: {<<: *b, SOLVER.MAX_EPOCH: 6}}\n"
    path.write_text(text)
    b, c = (load_config(row.config, row.options(1)) for row in load_grid(path).named(["b", "c"]))
    assert (b.MMT.EMA.ALPHA, b.SOLVER.MAX_EPOCH) == (0.5, 3)
    assert (c.MMT.EMA.ALPHA, c.SOLVER.MAX_EPOCH) == (0.5, 6)


def test_given_weights_may_name_the_seed(make_grid):
    weights = ["logs/seed{seed}/source{source1}.pth", "logs/seed{seed}/source{source2}.pth"]
    (row,) = make_grid({"a": {"overrides": {"MMT.WEIGHTS": weights}}}).rows
    cfg = load_config(row.config, row.options(3))
    assert tuple(cfg.MMT.WEIGHTS) == ("logs/seed3/source5.pth", "logs/seed3/source6.pth")


def test_rows_are_found_by_name_and_by_file_name(make_grid):
    grid = make_grid({"MMT": None, "MMT+, no DSBN": None, "c": None})
    assert [row.name for row in grid.named(["mmt_plus_no_dsbn", "MMT"])] == ["MMT", "MMT+, no DSBN"]
    with pytest.raises(AblationError, match=r"grid\.yml: there is no row 'MMD'; there are 'MMT', 'MMT\+, no"):
        grid.named(["MMD"])


def test_file_names():
    assert slug("hard-label baseline, 2x") == "hard_label_baseline_2x"
    assert slug("MMT+") != slug("MMT")


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        ({"a": {"overrides": {"MMT.EMA.ALHPA": 0.5}}}, {}, r"row 'a': .*ALHPA; did you mean MMT\.EMA\.ALPHA"),
        ({"a": {"overrides": {"MMT.EMA.ALPHA": "high"}}}, {}, r"row 'a': .*MMT\.EMA\.ALPHA"),
        ({"a": {"overrides": {"MMT.EMA.ALPHA": 1.0}}}, {}, r"row 'a': MMT\.EMA\.ALPHA is 1\.0"),
        ({"a": {"overrides": {"MMT.NUM_PAIRS": 3}}}, {}, r"row 'a': MMT\.NUM_PAIRS is 3; a seed has two"),
        ({"a": {"overrides": {"DATASETS.TESTS": []}}}, {}, r"row 'a': DATASETS\.TESTS is \(\)"),
        ({"a": {"overrides": ["MMT.EMA.ALPHA"]}}, {}, r"row 'a': \['MMT\.EMA\.ALPHA'\] is no mapping"),
        ({"a": {"config": "nowhere.yml"}}, {}, r"row 'a': config is 'nowhere\.yml': there is no"),
        ({"a": {"kind": "trane"}}, {}, r"row 'a': kind is 'trane'; choose one of train, source"),
        ({"a": {"cost": 0}}, {}, r"row 'a': cost is 0; it is a number above 0"),
        ({"a": {"cost": "low"}}, {}, r"row 'a': cost is 'low'; it is a number above 0"),
        ({"a": {"overide": {}}}, {}, r"row 'a': there is no key overide; choose from camera, config, cost"),
        ({"a": None}, {"rovs": 1}, r"there is no key rovs; choose from config, curves"),
        ({"a": None}, {"reference": "b"}, r"reference: there is no row 'b'; there are 'a'"),
        ({"a": {"reference": "b"}}, {}, r"reference: there is no row 'b'; there are 'a'"),
        ({"a": {"runs": ["b"]}}, {}, r"row 'a': kind ranking, and only that, names runs"),
        ({"a": {"kind": "ranking"}}, {}, r"row 'a': kind ranking, and only that, names runs"),
        ({"b": {**RANKING}, "a": None}, {}, r"row 'b': runs: no row 'a' that trains stands above"),
        ({"a": None, "b": {**RANKING, "camera": "c.yml"}}, {}, r"row 'b': camera is 'c.yml': there is no"),
        ({"a": None}, {"curves": ["b"]}, r"curves: there is no row 'b'"),
        ({"a": None}, {"config": None}, r"row 'a': name a config"),
        ({"a b": None, "a-b": None}, {}, r"'a b' and 'a-b' would share the file name 'a_b'"),
        ({}, {}, r"rows must name at least one row"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_row_and_key(write_grid, rows, keys, message):
    with pytest.raises(AblationError, match=rf"(?s)grid\.yml: {message}"):
        load_grid(write_grid(rows, **keys))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows:\n  a:\n  b:\n  a:\n", r"grid\.yml cannot be read: 'a' stands twice .*line 2"),
        ("rows: [", r"grid\.yml cannot be read: "),
        ("- a\n", r"grid\.yml is no grid"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(tmp_path, text, message):
    path = tmp_path / "grid.yml"
    path.write_text(text)
    with pytest.raises(AblationError, match=message):
        load_grid(path)
