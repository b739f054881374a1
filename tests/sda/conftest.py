"""A translation small enough for tests, and encoders for it."""

import os

import pytest
import torch
from small_sda import SDA_TINY, encoder_settings
from tiny import REPOSITORY, as_options

from mmt_plugin import synthetic
from mmt_plugin.config import load_config
from mmt_plugin.modeling import build_network


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
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)  # for trainers outside of the pipeline
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
