"""Data sets as they should not be: what is refused, and what is fine."""

import numpy as np
import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from miniature import write_market

from mmt_plugin.data.build import build_train_loader
from mmt_plugin.data.items import dense_ids, training_items
from mmt_plugin.engine.pipeline import train
from mmt_plugin.host.evaluators import rank_market1501
from mmt_plugin.pseudo_labels import cluster

pytestmark = pytest.mark.fault
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")


@pytest.fixture
def market(tmp_path, monkeypatch):
    """The miniature Market-1501 below a folder; returns its own folder."""

    def make(below: str = "datasets"):
        root = tmp_path / below
        write_market(root)
        monkeypatch.setenv("FASTREID_DATASETS", str(root))
        return root / "Market-1501-v15.09.15"

    return make


def test_an_empty_folder_is_named(market, observe):
    folder = market()
    for file in (folder / "bounding_box_train").iterdir():
        file.unlink()
    with pytest.raises(RuntimeError, match="no training images in Market1501") as error:
        training_items(["Market1501"])
    observe("data: empty training folder", error.value)


@pytest.mark.parametrize("name", ["portrait.jpg", "0007.jpg", "0007_s1_000001_00.jpg"])
def test_names_without_a_camera_are_named(market, observe, name):
    folder = market() / "bounding_box_train"
    next(folder.iterdir()).rename(folder / name)
    with pytest.raises(ValueError, match=name) as error:
        training_items(["Market1501"])
    observe("data: no camera in a file's name", error.value)


@pytest.mark.parametrize("below", ["with space", "Größe_数据", "data_12_c3"])
def test_any_parent_folder_will_do(market, observe, below):
    expected = [(item[1], item[2]) for item in (market("plain"), training_items(["Market1501"]))[1]]
    market(below)
    items = training_items(["Market1501"])
    assert [(item[1], item[2]) for item in items] == expected
    assert all(f"/{below}/" in item[0] for item in items)
    observe("data: parent folder with a space, unicode, or `_12_c3`", "the same identities and cameras")


def test_a_loop_of_folders_is_not_followed(market, observe):
    folder = market() / "bounding_box_train"
    before = len(training_items(["Market1501"]))
    (folder / "again").symlink_to(folder)
    assert len(training_items(["Market1501"])) == before
    observe("data: a link that makes a folder contain itself", "not followed")


def test_one_identity_cannot_be_trained_on(tiny_config, monkeypatch, observe):
    cfg = tiny_config("source")
    items = training_items(cfg.DATASETS.NAMES)
    loader = build_train_loader(cfg, items)
    with pytest.raises(ValueError, match="1 identities: training needs at least 2") as error:
        loader.set_labels(np.zeros(len(items), dtype=int))
    observe("data: one identity", error.value)


def test_one_camera_is_fine(tiny_config, observe):
    cfg = tiny_config()
    items = [(path, pid, "the only camera") for path, pid, _ in training_items(cfg.DATASETS.TARGETS)]
    loader = build_train_loader(cfg, items)
    loader.set_labels(dense_ids([item[1] for item in items]))
    assert all(len(set(batch["targets"].tolist())) == 4 for batch in loader.epoch(0))
    observe("data: one camera", "batches as usual, positives from the same camera")


def test_queries_without_a_match_do_not_count(observe):
    distances = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    ids = (np.array([1, 9]), np.array([1, 2, 2]))
    cameras = (np.array([0, 0]), np.array([1, 1, 1]))
    _, precisions, _ = rank_market1501(distances, ids[0], ids[1], *cameras, max_rank=3)
    assert precisions == [1.0]
    with pytest.raises(ValueError, match="no query identity appears in the gallery") as error:
        rank_market1501(distances[1:], ids[0][1:], ids[1], cameras[0][1:], cameras[1], max_rank=3)
    observe("data: a query without a match", "does not count")
    observe("data: no query with a match", error.value)


def test_a_copy_of_a_file_falls_into_its_cluster(tiny_config, observe):
    cfg = tiny_config(PSEUDO_LABELS__METHOD="dbscan", PSEUDO_LABELS__K1=8, PSEUDO_LABELS__K2=2)
    random = np.random.default_rng(0)
    features = np.repeat(random.normal(size=(10, 32)), 6, axis=0) + 0.02 * random.normal(size=(60, 32))
    features = np.concatenate([features, features[:3]]).astype(np.float32)
    labels = cluster(features / np.linalg.norm(features, axis=1, keepdims=True), cfg).labels
    assert labels[60:].tolist() == labels[:3].tolist()
    assert labels.max() == 9
    observe("data: a file that is there twice", "both in one cluster")


def test_a_target_without_identities_trains(tiny_config, monkeypatch, observe):
    cfg = tiny_config(SOLVER__MAX_EPOCH=1)
    dataset = DATASET_REGISTRY.get("SynthMetro")
    read = dataset._read

    def anonymous(self, folder, is_train=False):
        items = read(self, folder, is_train)
        return [(path, "nobody", camera) for path, _, camera in items] if is_train else items

    monkeypatch.setattr(dataset, "_read", anonymous)
    assert np.isfinite(train(cfg, resume=False)["mAP"])
    observe("data: target without identities", "trains; no ARI and NMI")
