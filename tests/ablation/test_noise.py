"""The table of wrong labels: what the recorded scalars and the recipe's weights give."""

from dataclasses import replace

from ablation.doc_tables import draw_page
from ablation.noise import draw_label_noise
from ablation.result_files import add_result
from small_grid import BASELINE, make_result

from mmt_plugin.engine.hooks.label_noise import PREFIX


def noisy(result, shift=0.0):
    """A result of two epochs that recorded wrong labels."""
    recorded = {
        "wrong": [0.4, 0.3 + shift],
        "p_wrong": [0.5, 0.2 + shift],
        "p_right": [0.9, 1.0],
        "p_own": [0.1, 0.3],
        "triplets_wrong": [0.25, 0.5],
        "t_wrong": [0.6, 0.5],
        "t_right": [0.8, 0.9],
    }
    curves = {PREFIX + name: [[50, a], [100, b]] for name, (a, b) in recorded.items()}
    return replace(result, curves={**result.curves, **curves})


def test_weights_are_those_of_the_soft_and_hard_losses_together(make_grid):
    grid = make_grid({"MMT": {}, "hard": BASELINE, "silent": {"overrides": {"MMT.CE_EPSILON": 0.0}}})
    mmt, hard, silent = grid.rows
    results = {
        "MMT": {1: noisy(make_result(mmt, 1, 60)), 2: noisy(make_result(mmt, 2, 60), shift=0.2)},
        "hard": {1: noisy(make_result(hard, 1, 50))},
        "silent": {1: make_result(silent, 1, 50)},
    }
    table = draw_label_noise(grid, results)
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in table.splitlines()
        if line.startswith("| ")
    }
    # soft weights .5 (classes) and .8 (triplets); of seeds 1 and 2 the mean
    assert cells["MMT"] == [
        "2",
        "40, 40",
        ".75, .65",
        ".05, .15",
        ".95, 1.00",
        "25, 50",
        ".68, .60",
        ".84, .92",
    ]
    ones = "1.00, 1.00"
    assert cells["hard"] == ["1", "40, 30", ones, ".00, .00", ones, "25, 50", ones, ones]
    assert "silent" not in cells


def test_epochs_without_wrong_labels_leave_a_gap(make_grid):
    grid = make_grid({"MMT": {}})
    one, two = (noisy(make_result(grid.rows[0], seed, 60)) for seed in (1, 2))
    del two.curves[f"{PREFIX}t_wrong"], one.curves[f"{PREFIX}t_right"], two.curves[f"{PREFIX}t_right"]
    two.curves[f"{PREFIX}p_wrong"].pop(0)
    one.curves[f"{PREFIX}p_wrong"][1][1] = 0.4
    (line,) = [
        line for line in draw_label_noise(grid, {"MMT": {1: one, 2: two}}).splitlines() if "MMT" in line
    ]
    cells = [cell.strip() for cell in line.split("|")[3:-1]]
    assert cells == ["40, 30", ".75, .65", ".05, .15", ".95, 1.00", "25, 50", ".68, .60", "-, -"]


def test_without_records_there_is_no_table(make_grid):
    grid = make_grid({"MMT": {}})
    assert draw_label_noise(grid, {"MMT": {1: make_result(grid.rows[0], 1, 60)}}) == ""


def test_pages_hold_it(make_grid, monkeypatch, tmp_path):
    monkeypatch.setattr("ablation.doc_tables.GRIDS", tmp_path)
    grid, results = make_grid({"MMT": {}}), tmp_path / "results"
    page = "A\n<!-- label noise: grid -->\nold\n<!-- end -->\nB\n"
    empty = page.replace("old", "\nNo run of this grid recorded it.\n")
    assert draw_page(page, results) == empty
    add_result(results, grid, noisy(make_result(grid.rows[0], 1, 60)))
    drawn = draw_page(page, results)
    assert "| MMT | 1       | 40, 30" in drawn
    assert (drawn.startswith("A\n"), drawn.endswith("\nB\n")) == (True, True)
