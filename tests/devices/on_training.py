"""Training on a second device, and how often a step waits for it."""

from itertools import chain

import pytest
from second_device import MixedDevicesError, counted_waits
from tiny import train_tiny

from mmt_plugin.engine.training_step import TrainingStep
from mmt_plugin.modeling import MutualMeanTeaching

SMALL = {
    "INPUT__SIZE_TRAIN": [64, 32],
    "INPUT__SIZE_TEST": [64, 32],
    "MMT__SOURCE__PRETRAIN": False,
    "MODEL__BACKBONE__PRETRAIN": False,
}
DBSCAN = {"PSEUDO_LABELS__METHOD": "dbscan", "PSEUDO_LABELS__K1": 8, "PSEUDO_LABELS__DBSCAN__EPS": 0.5}
KMEANS = {"PSEUDO_LABELS__METHOD": "kmeans"}
TARGET = {"DATASETS__TARGETS": ("SynthMetro",), "DATASETS__TESTS": ("SynthMetro",)}
# Recipe, and what is changed.
RECIPES = {
    "mmt": ("synthetic/plaza2metro_mmt", KMEANS),
    "mmt_plus": ("synthetic/plaza2metro_mmt_plus", {**DBSCAN, "MMT__MOCO__QUEUE_SIZE": 20}),
    "baseline": ("synthetic/plaza2metro_baseline", DBSCAN),
    "cluster_contrast": ("cluster_contrast/market", {**DBSCAN, **TARGET}),
    "spcl": ("spcl/market", {**DBSCAN, **TARGET}),
    "camera": ("camera/synthmetro", {}),
}


@pytest.fixture
def waits(monkeypatch) -> list[dict]:
    """What each training step waited for, the loader's own questions left out."""
    found, step = [], TrainingStep.run_step

    def watched(self):
        batches = self._data_loader_iter
        self._data_loader_iter = chain([next(batches)], batches)
        with counted_waits() as counter:
            step(self)
        found.append(dict(counter))

    monkeypatch.setattr(TrainingStep, "run_step", watched)
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_and_a_step_waits_once(sim, tiny_config, tmp_path, waits, name):
    tiny_config()
    recipe, overrides = RECIPES[name]
    train_tiny(tmp_path, recipe, MODEL__DEVICE=sim, **{**SMALL, **overrides})
    assert waits == [{"tolist": 1}] * 2
    assert (tmp_path / "results.json").is_file()


def test_a_mistake_is_found(sim, tiny_config, tmp_path, monkeypatch):
    tiny_config()
    monkeypatch.setattr(MutualMeanTeaching, "normalize", lambda self, images: images.cpu() - self.pixel_mean)
    with pytest.raises(MixedDevicesError):
        train_tiny(tmp_path, "synthetic/plaza2metro_mmt", MODEL__DEVICE=sim, **SMALL)
