"""Vehicles from source model to the tables of the papers, on miniatures of the true layouts: VehicleID to
VeRi-776 and to the three test sets of VERI-Wild.
"""

import json
from pathlib import Path

import miniature
import numpy as np
import pytest
from tiny import REPOSITORY, as_options

from mmt_plugin.challenge.entry import make_entry
from mmt_plugin.challenge.ranked_run import load_run
from mmt_plugin.config import load_config
from mmt_plugin.data.items import build_dataset
from mmt_plugin.engine import run
from mmt_plugin.report.result_tables import leaderboard, results_of
from mmt_plugin.runs.run import Run

TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.PRETRAIN": False,
    "INPUT.SIZE_TRAIN": [64, 64],
    "INPUT.SIZE_TEST": [64, 64],
    "DATALOADER.NUM_INSTANCE": 2,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.ITERS_PER_EPOCH": 2,
    "SOLVER.MAX_EPOCH": 1,
    "PSEUDO_LABELS.KMEANS.NUM_CLUSTERS": 3,
}
SOURCE = [*("DATALOADER.NUM_INSTANCE", 2, "SOLVER.IMS_PER_BATCH", 8, "SOLVER.ITERS_PER_EPOCH", 2)]
SOURCE += ["SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 0, "TEST.EVAL_PERIOD", 1]

WILD = ("SmallVeRiWild", "MediumVeRiWild", "LargeVeRiWild")


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The three data sets; the larger test sets of VERI-Wild have identities that the smaller have not."""
    root = tmp_path / "datasets"
    for write in (miniature.write_vehicleid, miniature.write_veri, miniature.write_veriwild):
        write(root)
    lists = root / "VERI-Wild" / "train_test_split"
    for size, last in ((3000, 102), (5000, 103)):
        for name in (f"test_{size}_query.txt", f"test_{size}.txt"):
            lines = (lists / name).read_text().splitlines()
            kept = [line for line in lines if int(line.split("/")[0]) <= last]
            (lists / name).write_text("".join(f"{line}\n" for line in kept))
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    monkeypatch.setattr("fastreid.data.build._root", str(root))
    return root


def score_slowly(features, labels):
    """mAP by the rule of the papers: images of the query's vehicle and camera do not count."""
    query_ids, gallery_ids, query_cameras, gallery_cameras = labels
    query, gallery = features[: len(query_ids)], features[len(query_ids) :]
    precisions = []
    for feature, identity, camera in zip(query, query_ids, query_cameras, strict=True):
        counts = ~((gallery_ids == identity) & (gallery_cameras == camera))
        distances = ((feature - gallery[counts]) ** 2).sum(axis=1)
        hits = (gallery_ids[counts] == identity)[np.argsort(distances, kind="stable")]
        ranks = np.flatnonzero(hits) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return 100 * np.mean(precisions)


@pytest.mark.parametrize(
    ("task", "tests", "published"),
    [("vehicleid2veri", ("VeRi",), ["38.9", "38.0", "35.3"]), ("vehicleid2veriwild", WILD, ["27.7"])],
)
def test_vehicles_end_to_end(datasets, tmp_path, task, tests, published):
    config_file = REPOSITORY / "configs" / "mmt" / f"{task}.yml"
    options = {**TINY, "OUTPUT_DIR": str(tmp_path / "run"), "MMT.SOURCE.OPTS": SOURCE}
    cfg = load_config(config_file, as_options(options))
    trained = run(cfg, str(config_file), resume=False)
    folder = str(tmp_path / "run")
    settings = load_config(Path(folder, "config.yaml"), ["DATASETS.TESTS", tests])

    found = {}
    for name in tests:
        entry = make_entry([load_run(folder, settings)], None, settings, name)
        found[name] = entry.measure(entry.steps[-1]).metrics["mAP"]
        labels = entry.features.labels.all
        assert found[name] == pytest.approx(score_slowly(entry.features.features, labels), abs=1e-3)
    sizes = [len(build_dataset(name).query) for name in tests]
    assert sizes == ([4] if task == "vehicleid2veri" else [2, 3, 4])
    assert found[tests[0]] == pytest.approx(trained["mAP"], abs=1e-3)

    record = Run(folder).record
    assert record == json.loads(Path(folder, "results.json").read_text())
    text = leaderboard(results_of(folder, record, record["run"]), "markdown")
    assert "VehicleID -> " in text
    assert all(f"| {value} " in text for value in published)
