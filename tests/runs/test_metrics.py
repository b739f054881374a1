"""Scalars by epoch, as a run writes them."""

import json

import pytest

from mmt_plugin.runs.metrics import grouped, read_scalars

LINES = [
    {"iteration": 0, "clusters": 9.0, "ARI": 0.1, "label_free/stability": 0.2, "extraction_seconds": 1.0},
    {"iteration": 4, "total_loss": 5.0, "lr": 0.1},  # within the epoch
    {"iteration": 9, "total_loss": 4.0, "lr": 0.1, "images_per_bn": 16.0},
    {"iteration": 9, "clusters": 8.0, "ARI": 0.3, "label_free/stability": 0.4, "extraction_seconds": 2.0},
    {"iteration": 19, "total_loss": 3.0, "lr": 0.1},
    {"iteration": 19, "images_per_bn": 16.0, "mAP": 50.0, "teacher1/mAP": 50.0, "teacher2/mAP": 40.0},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return tmp_path


def test_values_stand_where_they_were_measured(folder):
    scalars = read_scalars(folder)
    assert (scalars.iters_per_epoch, scalars.num_epochs) == (10, 2)
    assert scalars.labels.keys() == {"clusters", "ARI", "label_free/stability", "extraction_seconds"}
    assert scalars.labels["clusters"].epochs == [0, 1]
    assert scalars.labels["label_free/stability"].values == [0.2, 0.4]
    assert scalars.training["total_loss"].epochs == [0.5, 1, 2]
    assert scalars.training["mAP"].epochs == [2]
    assert scalars.total("extraction_seconds") == 3
    assert scalars.total("training_seconds") is None


def test_a_line_that_was_cut_off_is_left_out(folder):
    with (folder / "metrics.json").open("a") as file:
        file.write('{"clusters": 7.0, "iter')
    assert read_scalars(folder).labels["clusters"].values == [9, 8]


def test_scalars_of_older_runs_have_todays_names(folder):
    with (folder / "metrics.json").open("a") as file:
        file.write('{"iteration": 29, "clusters": 7.0, "unclustered": 5.0}\n')
    assert read_scalars(folder).labels["outliers"].values == [5]


def test_a_folder_without_metrics_has_no_scalars(tmp_path):
    scalars = read_scalars(tmp_path)
    assert (scalars.num_epochs, scalars.labels, scalars.training) == (0, {}, {})


def test_networks_of_one_test_set_belong_together(folder):
    names = ["mAP", "A/mAP", "A/teacher1/mAP", "B/teacher1/mAP", "A/teacher1/Rank-1"]
    groups = grouped(dict.fromkeys(names, "curve"), "mAP")
    assert {prefix: len(curves) for prefix, curves in groups.items()} == {"": 1, "A": 2, "B": 1}
