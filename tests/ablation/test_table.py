"""Means, spreads, paired differences, and pages that hold them."""

import math
import re

import pytest
from ablation.difference_plot import differences, draw_differences
from ablation.doc_tables import GRIDS, draw_page, draw_plots
from ablation.errors import AblationError
from ablation.jobs import command_by_hand
from ablation.learning_curves import draw_curve_table, draw_curves, evaluations
from ablation.result_files import DEFAULTS, read_results
from ablation.table import comparison, draw_commands, draw_summary, draw_table, paired_p
from small_grid import BASELINE
from tiny import REPOSITORY

ROWS = {"direct": {"kind": "source"}, "baseline": BASELINE, "MMT": {"note": "two networks"}, "later": None}


@pytest.fixture
def drawn(make_grid, write_results):
    """A function: mAP by row and seed, keys of the grid -> cells of the table's rows, by header."""

    def draw(values: dict, minutes: bool = False, **keys: object) -> list[dict[str, str]]:
        grid = make_grid(ROWS, **keys)
        text = draw_table(grid, read_results(write_results(grid, values), grid), minutes)
        lines = [
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in text.splitlines()
            if line.startswith("|")
        ]
        return [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]

    return draw


def test_one_seed_has_no_spread(drawn):
    direct, _, mmt, _ = drawn({"direct": {1: 30.0}, "MMT": {1: 50.04}})
    assert list(direct.values()) == ["direct", "1", "30.0", "31.0", "32.0", "33.0", "-", "-"]
    assert list(mmt.values()) == ["MMT", "1", "50.0", "51.0", "52.0", "53.0", "0.50", "201"]
    assert list(mmt)[1:] == ["seeds", "mAP", "Rank-1", "Rank-5", "Rank-10", "first ARI", "clusters"]


def test_minutes_are_shown_on_demand(drawn):
    _, _, mmt, _ = drawn({"MMT": {1: 50.0}}, minutes=True)
    assert mmt["minutes"] == "2.0"


def test_several_seeds_have_their_spread(drawn):
    _, _, mmt, later = drawn({"MMT": {1: 50.0, 2: 54.0}})
    assert (mmt["seeds"], mmt["mAP"], mmt["clusters"]) == ("2", "52.0 ± 2.8", "202 ± 1")
    assert (later["seeds"], later["mAP"]) == ("-", "-")


def test_differences_are_taken_seed_by_seed(drawn):
    values = {"MMT": {1: 50.0, 2: 54.0, 3: 52.0}, "baseline": {2: 51.0, 3: 50.0, 1: 48.5, 4: 60.0}}
    direct, baseline, mmt, _ = drawn({**values, "direct": {1: 30.0}}, reference="MMT")
    cells = ("mAP - MMT, by seed", "mean", "p (n)")
    assert [baseline[name] for name in cells] == ["-1.5, -3.0, -2.0", "-2.2", ".039 (3)"]
    assert [direct[name] for name in cells] == ["-20.0", "-20.0", "-"]
    assert [mmt[name] for name in cells] == ["reference", "-", "-"]


def test_a_row_may_have_a_reference_of_its_own(make_grid, write_results):
    rows = {"hard": BASELINE, "MMT": None, "small": BASELINE, "small MMT": {"reference": "small"}}
    grid = make_grid(rows, reference="hard")
    values = {"hard": {1: 50.0}, "MMT": {1: 54.0}, "small": {1: 40.0}, "small MMT": {1: 41.0}}
    text = draw_table(grid, read_results(write_results(grid, values), grid))
    last = [line.split("|")[-4].strip() for line in text.splitlines() if line.startswith("|")]
    assert last == ["mAP - reference, by seed", "-" * len(last[1]), "reference", "+4.0", "-10.0", "+1.0"]
    assert "- small MMT: compared with small\n" in text
    assert "- MMT: compared with hard\n" in text


def test_p_is_that_of_the_paired_t_test():
    """With two degrees of freedom the distribution of t is known in closed form."""
    differences = [-1.5, -3.0, -2.0]
    mean = sum(differences) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in differences) / 2)
    t = abs(mean) / (deviation / math.sqrt(3))
    assert paired_p(differences) == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert paired_p([1.0, 2.0]) is None
    assert paired_p([0.0, 0.0, 0.0]) is None


def test_notes_and_commands_follow(make_grid, write_results):
    grid = make_grid(ROWS)
    results = read_results(write_results(grid, {"MMT": {2: 50.0, 3: 51.0}}), grid)
    assert "- MMT: two networks" in draw_table(grid, results)
    (row,) = (row for row in grid.rows if row.name == "MMT")
    assert draw_commands(grid, results) == f"```sh\n# MMT\n{command_by_hand(grid, row, 2)}\n```"


def test_a_difference_of_nothing_has_no_minus():
    assert comparison({1: 50.0, 2: 51.0}, {1: 50.04, 2: 51.0}) == ["+0.0, +0.0", "+0.0", "-"]


def test_a_summary_is_of_the_rows_that_were_run(make_grid, write_results):
    grid = make_grid(ROWS, reference="baseline")
    values = {"baseline": {1: 50.0, 2: 52.0}, "MMT": {1: 54.0}}
    text = draw_summary(grid, read_results(write_results(grid, values), grid))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert lines[0] == ["", "seeds", "mAP", "Rank-1", "mAP - baseline, by seed", "mean", "p (n)"]
    assert lines[2:] == [
        ["baseline", "2", "51.0 ± 1.4", "52.0 ± 1.4", "reference", "-", "-"],
        ["MMT", "1", "54.0", "55.0", "+4.0", "+4.0", "-"],
    ]


def test_a_grid_without_results_says_so(make_grid, tmp_path):
    grid = make_grid(ROWS)
    assert draw_table(grid, read_results(tmp_path, grid)) == "No run of this grid is recorded."


def test_curves_are_drawn_where_all_seeds_were_evaluated(make_grid, write_results, tmp_path):
    grid = make_grid(ROWS)
    results = read_results(write_results(grid, {"MMT": {1: 50.0, 2: 54.0}, "direct": {1: 30.0}}), grid)
    assert evaluations(results["MMT"]) == {50: {1: 40.0, 2: 44.0}, 100: {1: 50.0, 2: 54.0}}
    results["MMT"][2].curves["mAP"].pop(0)
    assert evaluations(results["MMT"]) == {50: {1: 40.0}, 100: {1: 50.0, 2: 54.0}}
    assert evaluations(results["MMT"], of_all_seeds=True) == {100: {1: 50.0, 2: 54.0}}
    assert evaluations(results["direct"]) == {}
    assert draw_curves(grid, results, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert not draw_curves(grid, {name: {} for name in ROWS}, tmp_path / "none.png")


def test_curves_are_compared_after_as_many_iterations_and_after_as_much_computing(make_grid, write_results):
    rows = {
        "hard": {**BASELINE, "cost": 2},
        "MMT": {"reference": "hard", "cost": 4},
        "direct": {"kind": "source"},
    }
    rows |= {"same": {"reference": "MMT", "cost": 4}, "between": {"reference": "hard", "cost": 3}}
    grid = make_grid(rows)
    values = {"hard": {1: 50.0, 2: 52.0, 3: 51.0}, "MMT": {1: 53.0, 2: 56.0, 3: 53.0}, "same": {1: 60.0}}
    values["between"] = {2: 51.0}
    results = read_results(write_results(grid, values), grid)
    text = draw_curve_table(grid, results)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    metric = "mAP - reference"
    head = ["", "iterations", "mAP", f"{metric}, as many iterations", "mean", "p (n)"]
    assert lines[0] == [*head, f"{metric}, as much computing", "mean", "p (n)"]
    nothing = ["-"] * 3
    assert lines[2:] == [
        ["hard", "50", "41.0 ± 1.0", *nothing, *nothing],
        ["hard", "100", "51.0 ± 1.0", *nothing, *nothing],
        # 50 iterations of MMT cost as much as 100 of the baseline.
        [
            "MMT",
            "50",
            "44.0 ± 1.7",
            "+3.0, +4.0, +2.0",
            "+3.0",
            ".035 (3)",
            "-7.0, -6.0, -8.0",
            "-7.0",
            ".007 (3)",
        ],
        ["MMT", "100", "54.0 ± 1.7", "+3.0, +4.0, +2.0", "+3.0", ".035 (3)", *nothing],
        ["same", "50", "50.0", "+7.0", "+7.0", "-", *nothing],
        ["same", "100", "60.0", "+7.0", "+7.0", "-", *nothing],
        # 50 iterations cost as much as 75 of the baseline, whose mAP goes from 42 to 52.
        ["between", "50", "41.0", "-1.0", "-1.0", "-", "-6.0", "-6.0", "-"],
        ["between", "100", "51.0", "-1.0", "-1.0", "-", *nothing],
    ]
    assert draw_curves(grid, results, write_results(grid, {}) / "curves.png")
    assert draw_curve_table(grid, {name: {} for name in rows}) == ""


def test_a_plot_has_a_dot_a_seed_and_a_bar_at_their_mean(make_grid, write_results):
    grid = make_grid(ROWS, reference="MMT")
    values = {"MMT": {1: 50.0, 2: 54.0}, "baseline": {1: 48.0, 2: 51.0, 4: 60.0}, "direct": {}}
    results = read_results(write_results(grid, values), grid)
    assert differences(grid, results) == {"baseline - MMT": [-2.0, -3.0]}
    drawn = draw_differences(grid, results)
    at = [float(x) for x in re.findall(r'cx="([\d.]+)"', drawn)]
    mean, zero = (float(re.search(rf'class="{kind}" d="M([\d.]+) ', drawn)[1]) for kind in ("mean", "zero"))
    assert len(at) == 2
    assert mean == pytest.approx(sum(at) / 2, abs=0.1)
    assert at[1] < at[0] < zero
    assert zero - at[1] == pytest.approx(1.5 * (zero - at[0]), abs=0.2)
    assert draw_differences(grid, {name: {} for name in ROWS}) == ""


def test_a_page_keeps_everything_but_its_tables(tmp_path):
    text = "# A\n\n<!-- table: demo -->\n| 99.9 |\n<!-- end -->\n\nB\n"
    drawn = draw_page(text, tmp_path)
    assert drawn == ("# A\n\n<!-- table: demo -->\n\nNo run of this grid is recorded.\n\n<!-- end -->\n\nB\n")
    assert draw_page(drawn, tmp_path) == drawn
    with pytest.raises(AblationError, match="<!-- table: demo --> has no <!-- end --> after it"):
        draw_page("<!-- table: demo -->\n<!-- table: mmt -->\n<!-- end -->", tmp_path)


PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
WITH_TABLES = [page for page in PAGES if "<!-- end -->" in page.read_text()]


def test_every_grid_of_the_pages_is_drawn_somewhere():
    assert len(WITH_TABLES) >= 9


@pytest.mark.parametrize("page", WITH_TABLES, ids=lambda page: page.stem)
def test_the_pages_of_results_are_what_the_result_files_give(page):
    text, results = page.read_text(), REPOSITORY / "docs" / "results"
    assert draw_page(text, results) == text
    assert all((page.parent / path).read_text() == plot for path, plot in draw_plots(text, results).items())


def test_every_file_of_results_belongs_to_a_grid():
    files = set((REPOSITORY / "docs" / "results").glob("*.json*"))
    assert {path.stem for path in files if path.name != DEFAULTS} <= {
        path.stem for path in GRIDS.glob("*.yml")
    }
    assert len(files) < 15
    assert sum(path.stat().st_size for path in files) < 600_000
