"""Data sets of cameras, and batches to classify them with."""

import miniature
import numpy as np
import pytest

from mmt_plugin.data.build import build_train_loader
from mmt_plugin.data.datasets.cameras import CameraDataset, camera_domains
from mmt_plugin.data.items import build_dataset, training_items
from mmt_plugin.data.samplers import ShuffledBatchSampler


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    miniature.write_all(tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["VisDA20", "Market1501", "DukeMTMC"])
def test_the_camera_stands_for_the_identity(datasets, name):
    original, cameras = build_dataset(name), build_dataset(f"{name}Cameras")
    assert cameras.train == [(path, camera, camera) for path, _, camera in original.train]
    assert len({pid for _, pid, _ in cameras.train}) == 2
    assert cameras.query == [(path, camera, 0) for path, _, camera in original.query]
    assert cameras.gallery == [(path, camera, 1) for path, _, camera in original.gallery]


@pytest.mark.parametrize(("name", "count"), [("VehicleID", 24), ("SmallVeRiWild", 1)])
def test_sets_without_camera_ids_are_refused(datasets, name, count, monkeypatch):
    """VehicleID numbers its images in the place of cameras; another set may have the same camera all over."""
    if count == 1:
        info = datasets / "VERI-Wild" / "train_test_split" / "vehicle_info.txt"
        lines = [line.split(";") for line in info.read_text().splitlines()]
        info.write_text("\n".join(";".join([line[0], "1", *line[2:]]) for line in lines) + "\n")
    without = type("Without", (CameraDataset,), {"images_of": name})
    with pytest.raises(ValueError, match=f"Without: {name} has {count} camera ids for 24 training images"):
        without(str(datasets))


def test_what_a_model_recognises_is_read_from_its_training_sets():
    assert camera_domains(["VisDA20Cameras"]) == ["VisDA20"]
    assert camera_domains(["VisDA20Cameras", "PersonX"]) is None
    assert camera_domains(["Market1501"]) is None
    assert camera_domains(["not registered"]) is None
    assert camera_domains([]) is None


def test_uniform_batches_show_every_image_once_a_pass(tiny_config):
    cfg = tiny_config(DATALOADER__BATCHES="uniform", SOLVER__IMS_PER_BATCH=12, SOLVER__ITERS_PER_EPOCH=5)
    items = training_items(["SynthMetroCameras"])
    assert len(items) == 60
    loader = build_train_loader(cfg, items)
    labels = np.array([int(item[1].rsplit("_")[-1]) for item in items])
    loader.set_labels(labels)
    batches = list(loader.epoch(0))
    indices = np.concatenate([batch["indices"].numpy() for batch in batches])
    assert sorted(indices) == list(range(60))
    assert np.array_equal(np.concatenate([batch["targets"].numpy() for batch in batches]), labels[indices])


@pytest.mark.parametrize("labels", [[0, 1, -1], [0, 1]])
def test_uniform_batches_leave_no_image_out(labels):
    with pytest.raises(ValueError, match="a label for each of the 3 images"):
        ShuffledBatchSampler(3, 2, 1, seed=1).set_labels(labels)
