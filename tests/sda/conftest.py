"""A translation small enough for tests, and encoders for it."""

from pathlib import Path

import pytest
import torch
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.config import load_config
from mmt_plugin.data import synthetic
from mmt_plugin.modeling import build_network

SDA_TINY = {
    **{key: value for key, value in TINY.items() if key.startswith(("MODEL", "SYNTHETIC", "DATALOADER"))},
    "INPUT.SIZE_TRAIN": [32, 24],
    "INPUT.SIZE_TEST": [32, 24],
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.ITERS_PER_EPOCH": 3,
    "SOLVER.MAX_EPOCH": 2,
    "SDA.DECAY_EPOCHS": 1,
    "SDA.ENCODER_SIZE": [64, 32],
    "SDA.GENERATOR.WIDTH": 4,
    "SDA.GENERATOR.BLOCKS": 1,
    "SDA.DISCRIMINATOR.WIDTH": 4,
    "SDA.POOL_SIZE": 6,
    "SDA.SHEET.PERIOD": 1,
    "SDA.SHEET.IMAGES": 3,
}


@pytest.fixture
def sda_config(datasets_root, monkeypatch, tmp_path, encoders):
    """A function: overrides -> the config of a translation that trains in a second, encoders included."""
    monkeypatch.setenv("FASTREID_DATASETS", str(datasets_root))

    def make(name: str = "sda/plaza2metro", **overrides):
        settings = {
            **SDA_TINY,
            "SDA.SOURCE_ENCODER": encoders["source"],
            "SDA.TARGET_ENCODER": encoders["target"],
            "OUTPUT_DIR": str(tmp_path / "run"),
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        cfg = load_config(REPOSITORY / "configs" / f"{name}.yml", as_options(settings))
        synthetic.configure(cfg)
        return cfg

    yield make
    synthetic.configure(load_config(REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml"))


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> dict[str, str]:
    """Checkpoints of two random networks: "source" as of fastreid's Baseline, "target" of ours with
    domain-specific BN, whose branches differ.
    """
    folder = tmp_path_factory.mktemp("encoders")
    paths = {}
    for seed, (name, dsbn) in enumerate({"source": False, "target": True}.items()):
        torch.manual_seed(seed)
        network = build_network(encoder_settings(dsbn))
        network.heads.set_num_classes(5 + seed)
        for layer in network.modules():
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.running_mean.normal_(std=0.1)
                layer.weight.data.uniform_(0.5, 1.5)
        prefix = "students.0." if dsbn else ""
        weights = {prefix + key: value for key, value in network.state_dict().items()}
        paths[name] = str(folder / f"{name}.pth")
        torch.save({"model": weights, "epoch": 0}, paths[name])
    return paths


def encoder_settings(dsbn: bool = False, **overrides):
    """The config of the tiny configs' encoders."""
    settings = {
        **{key: value for key, value in TINY.items() if key.startswith("MODEL")},
        "MMT.DSBN.ENABLED": dsbn,
        "MMT.JOINT.ENABLED": dsbn,
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    return load_config(REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml", as_options(settings))


def files(folder: Path) -> dict[str, bytes]:
    """Names and contents of a folder's images."""
    return {path.name: path.read_bytes() for path in folder.rglob("*.jpg")}
