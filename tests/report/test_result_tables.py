"""Tables: grouping over seeds, published rows beside measured ones, formats."""

import pytest
from fastreid.data.datasets import DATASET_REGISTRY

from mmt_plugin.report.result_tables import (
    HEADERS,
    METRICS,
    LeaderboardError,
    leaderboard,
    read_published,
    results_of,
)


def metrics(value):
    return {name: value + 2 * at for at, name in enumerate(METRICS)}


def description(**changes):
    run = {"source": ["Market1501"], "target": ["DukeMTMC"], "tests": ["DukeMTMC"], "method": "MMT, DBSCAN"}
    run |= {"backbone": "ResNet-50", "epochs": 40, "images_per_bn": 16, "selection": "last epoch"}
    return {**run, "seed": 1, "recipe": "a", **changes}


def results(value, folder="logs/a", **changes):
    return results_of(folder, {"metrics": metrics(value)}, description(**changes))


def rows(text):
    """Cells by header of a markdown table's rows."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def test_seeds_are_one_row_with_their_spread():
    seeds = [results(value, f"logs/{seed}", seed=seed) for seed, value in ((2, 50.0), (1, 54.0))]
    other = results(60.0, "logs/b", recipe="b", epochs=80)
    table = rows(leaderboard([*seeds[0], *other, *seeds[1]], "markdown"))
    measured = [row for row in table if row["numbers"] == "measured"]
    assert [(row["mAP"], row["seeds"], row["epochs"]) for row in measured] == [
        ("60.0", "1", "80"),
        ("52.0 ± 2.8", "1, 2", "40"),
    ]
    assert measured[1]["Rank-1"] == "54.0 ± 2.8"
    assert measured[1]["mINP"] == "60.0 ± 2.8"
    assert measured[1]["images per BN"] == "16"
    assert measured[1]["model chosen"] == "last epoch"
    assert measured[1]["reference"] == "-"


def test_a_run_does_not_count_twice():
    with pytest.raises(LeaderboardError, match="logs/a and logs/b are the same recipe with the same seed, 1"):
        leaderboard([*results(50.0, "logs/a"), *results(50.0, "logs/b")])


def test_published_rows_follow_with_their_reference():
    table = rows(leaderboard(results(50.0), "markdown"))
    assert [row["numbers"] for row in table] == ["measured"] + ["published"] * (len(table) - 1)
    (paper,) = (
        row for row in table if row["method"] == "MMT, k-means 700" and row["backbone"] == "ResNet-50"
    )
    assert (paper["mAP"], paper["Rank-1"], paper["Rank-5"], paper["mINP"]) == ("65.1", "78.0", "88.8", "-")
    assert paper["reference"].startswith("MMT, ICLR 2020")
    assert paper["model chosen"] == "best epoch by target test labels"
    assert all(row["seeds"] == "-" for row in table[1:])


def test_tasks_have_tables_of_their_own():
    unsupervised = results(70.0, recipe="u", source=[], target=["Market1501"], tests=["Market1501"])
    text = leaderboard([*results(50.0), *unsupervised], "markdown")
    duke, market = text.split("### ")[1:]
    assert duke.startswith("Market1501 -> DukeMTMC\n")
    assert market.startswith("Market1501 (unsupervised)\n")
    assert "MMT, k-means 700" not in market
    assert [row["mAP"] for row in rows(market)] == ["70.0", "76.0", "74.3", "73.1", "70.5"]


def test_every_test_set_is_a_table():
    tests = ["SmallVeRiWild", "LargeVeRiWild"]
    run = description(source=["VehicleID"], target=["VeRiWild"], tests=tests)
    record = {"metrics": {"SmallVeRiWild": metrics(30.0), "LargeVeRiWild": metrics(20.0)}}
    small, large = leaderboard(results_of("logs/v", record, run), "markdown").split("### ")[1:]
    assert small.startswith("VehicleID -> VeRiWild, tested on SmallVeRiWild")
    assert [row["mAP"] for row in rows(small)] == ["30.0", "27.7"]
    assert [row["mAP"] for row in rows(large)] == ["20.0", "18.0"]


@pytest.mark.parametrize(
    ("table_format", "heading", "line"),
    [
        ("text", "Market1501 -> DukeMTMC\nnumbers", "measured"),
        ("markdown", "### Market1501 -> DukeMTMC\n\n| numbers", "| measured"),
        ("latex", "% Market1501 -> DukeMTMC\n\\begin{tabular}", " measured"),
    ],
)
def test_formats(table_format, heading, line):
    text = leaderboard(results(50.0), table_format)
    assert text.startswith(heading)
    assert any(each.startswith(line) for each in text.splitlines())
    assert all(header in text for header in HEADERS)


def test_missing_metrics_name_the_run():
    with pytest.raises(LeaderboardError, match=r"logs/a: results\.json lacks mINP on DukeMTMC"):
        results_of("logs/a", {"metrics": dict.fromkeys(METRICS[:-1], 1.0)}, description())
    run = description(tests=["SmallVeRiWild", "LargeVeRiWild"])
    with pytest.raises(LeaderboardError, match=r"lacks mAP.* on LargeVeRiWild"):
        results_of("logs/a", {"metrics": {"SmallVeRiWild": metrics(1.0)}}, run)


def test_every_published_number_has_a_reference_and_a_task_that_exists():
    published = read_published()
    for row in published:
        assert row["reference"], row
        assert 0 < float(row["mAP"]) < 100
        known = [float(row[name]) for name in ("Rank-1", "Rank-5", "Rank-10") if row[name]]
        assert known == sorted(known)
        assert all(DATASET_REGISTRY.get(row[key]) for key in ("source", "target", "test") if row[key])
    keys = [
        (row["source"], row["test"], row["method"], row["backbone"], row["reference"]) for row in published
    ]
    assert len(set(keys)) == len(keys)
