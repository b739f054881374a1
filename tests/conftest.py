"""Shared fixtures: a tiny built-in world, tiny configs."""

from pathlib import Path

import pytest
import torch

from mmt_plugin.config import load_config
from mmt_plugin.data import synthetic

REPOSITORY = Path(__file__).parents[1]

# A network and a world small enough for a test, on top of configs/synthetic.
TINY = {
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.DEVICE": "cpu",
    "SYNTHETIC.TRAIN_IDS": 10,
    "SYNTHETIC.TEST_IDS": 8,
    "SYNTHETIC.TRAIN_IMAGES_PER_ID": 6,
    "SYNTHETIC.TEST_IMAGES_PER_ID": 8,
    "SYNTHETIC.IMAGE_SIZE": [64, 32],
    "SYNTHETIC.NUM_WORKERS": 0,
    "PSEUDO_LABELS.METHOD": "kmeans",
    "PSEUDO_LABELS.KMEANS.NUM_CLUSTERS": 8,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 8,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.ITERS_PER_EPOCH": 2,
    "SOLVER.MAX_EPOCH": 2,
    "TEST.EVAL_PERIOD": 2,
}


def as_options(settings: dict) -> list:
    return [word for item in settings.items() for word in item]


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors are fastest, and their sums reproducible, on one thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def datasets_root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture
def tiny_config(datasets_root, monkeypatch, tmp_path):
    """A function: config name under configs/synthetic and overrides -> a config that trains in a second."""
    monkeypatch.setenv("FASTREID_DATASETS", str(datasets_root))

    def make(name: str = "plaza2metro_mmt", **overrides):
        settings = {
            **TINY,
            "OUTPUT_DIR": str(tmp_path / "run"),
            **{k.replace("__", "."): v for k, v in overrides.items()},
        }
        cfg = load_config(REPOSITORY / "configs" / "synthetic" / f"{name}.yml", as_options(settings))
        synthetic.configure(cfg)
        return cfg

    yield make
    synthetic.configure(load_config(REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml"))
