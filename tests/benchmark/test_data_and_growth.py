"""The measurements of data and growth compare equal work, and report it by row."""

import argparse
import time

import numpy as np
import pytest
import torch
from benchmark import data, growth
from PIL import Image
from tiny import TINY, as_options

SMALL = {**TINY, "MODEL.BACKBONE.FEAT_DIM": 512, "PSEUDO_LABELS.METHOD": "dbscan", "SOLVER.IMS_PER_BATCH": 16}


def printed_rows(module, capsys, *words):
    """Cells of the printed tables, by the table's number and the row."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    options = [str(word) for word in as_options(SMALL)]
    module.run(parser.parse_args([*words, "--opts", *options]))
    tables, previous = [], ""
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("|"):
            if not previous.startswith("|"):
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        previous = line
    return [table[2:] for table in tables]


def test_files_are_of_the_size_asked_for_and_weigh_what_photographs_weigh(tmp_path):
    items = data.write_images(tmp_path, 8, 128, 64)
    assert {Image.open(path).size for path, *_ in items} == {(64, 128)}
    assert [item[1] for item in items] == [0] * 4 + [1] * 4
    assert 2000 < np.mean([(tmp_path / path).stat().st_size for path, *_ in items]) < 6000


def test_all_ways_make_the_same_batches(tiny_config, tmp_path):
    cfg = tiny_config(INPUT__REA__ENABLED=True, SOLVER__ITERS_PER_EPOCH=0)
    items = data.write_images(tmp_path, 16, 128, 64)
    images = data.OncePerView(cfg, items)[3]
    assert [image.shape for image in images] == [(3, 64, 32)] * 2
    assert images[0].dtype == torch.float32
    assert not torch.equal(*images)
    ways = data.ways_to_batches(cfg, items, tmp_path / "cache")
    for way in ways.values():
        way()
    assert len(list((tmp_path / "cache").glob("*/pictures.npy"))) == 1


def test_turns_are_taken_and_the_median_counts():
    order = []

    def first():
        order.append("first")
        time.sleep(0.03 if len(order) == 3 else 0.001)

    medians = data.in_turns({"first": first, "second": lambda: order.append("second")}, rounds=3)
    assert order == ["first", "second"] * 4
    assert 0.001 <= medians["first"] < 0.02


def test_the_data_table_has_every_way_and_size(capsys):
    words = ["--config-file", "configs/synthetic/plaza2metro_mmt.yml", "--sizes", "128x64", "96x40"]
    speeds, steps = printed_rows(data, capsys, *words, "--images", "16", "--rounds", "1")
    assert [row[0] for row in speeds] == ["128x64"] * 4 + ["96x40"] * 4
    assert [float(row[3]) for row in speeds if row[1].startswith("fastreid")] == [1.0, 1.0]
    for _, _, speed, ratio in speeds[1:4]:
        assert float(speed) / float(speeds[0][2]) == pytest.approx(float(ratio), abs=0.02)
    assert [row[0] for row in steps] == ["128x64", "96x40"]


def test_growth_is_the_power_of_the_number_of_images():
    counts = [10, 100, 1000, 10_000]
    assert growth.growth(counts, [count**2 for count in counts]) == "2.0"
    assert growth.growth(counts, [7.0, *(count * 3 for count in counts[1:])]) == "1.0"
    assert growth.growth(counts, [5.0] * 4) == "0.0"
    assert growth.growth(counts, [0.1, 0.1, 0.5, 0.9]) == "-"
    assert growth.growth([10, 1000], [1.0, 100.0]) == "1.0"


def test_the_growth_table_has_every_stage(capsys):
    words = ["--images", "200", "400", "--batches", "16", "32", "--repeats", "1"]
    stages, batches = printed_rows(growth, capsys, *words)
    names = [row[0] for row in stages]
    assert names[0] == "clusters"
    assert {"k-NN", "Jaccard graph", "DBSCAN", "centroids", "labels to the sampler"} < set(names)
    assert all(len(row) == 4 for row in stages)
    assert [int(row[0]) for row in batches] == [16, 32]
    for batch, total, each in batches:
        drawn = 400 // int(batch) * int(batch)
        assert 1000 * float(total) / drawn == pytest.approx(float(each), abs=0.3)
