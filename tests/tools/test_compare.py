"""The comparison's table."""

import importlib.util

import pytest
from tiny import REPOSITORY


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare", REPOSITORY / "tools" / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(value: float, clusters: float | None) -> dict:
    metrics = {"mAP": value, "Rank-1": value + 1, "Rank-5": value + 2, "Rank-10": value + 3}
    return {"metrics": metrics, "clusters": clusters, "minutes": 2.0}


def test_table_of_one_seed(compare):
    lines = compare.table([{"direct transfer": record(30.0, None), "MMT": record(50.04, 210)}]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["", "mAP", "Rank-1", "Rank-5", "Rank-10", "clusters", "minutes"]
    assert cells[2] == ["direct transfer", "30.0", "31.0", "32.0", "33.0", "-", "2.0"]
    assert cells[3] == ["MMT", "50.0", "51.0", "52.0", "53.0", "210", "2.0"]


def test_table_of_several_seeds_has_the_spread(compare):
    text = compare.table([{"MMT": record(50.0, 210)}, {"MMT": record(54.0, 212)}])
    assert "52.0 ± 2.8" in text
    assert "211 ± 1" in text


def test_folder_names(compare):
    assert compare.slug("hard-label baseline, 2x") == "hard_label_baseline_2x"
