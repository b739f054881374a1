"""Runs as training leaves them, without the training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from mmt_plugin.config import check_config
from mmt_plugin.data.items import build_dataset
from mmt_plugin.engine.resume.checkpointer import BEST, MMTCheckpointer


def scatter(model: torch.nn.Module, seed: int = 0) -> None:
    """Give every BN layer weights and statistics of its own, different in every network and domain, as if it
    had been trained.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        noise = 0.2 * torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_mean") or (tensor.dim() == 1 and name.endswith("bias")):
            tensor.data += noise
        elif name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight")):
            tensor.data *= torch.exp(noise)


def write_run(cfg, prepare: Callable[[torch.nn.Module], None] = scatter) -> Path:
    """The folder of a run that ended with prepared networks, of which the last is for inference."""
    check_config(cfg)
    torch.manual_seed(0)
    model = build_model(cfg)
    prepare(model)
    model.inference_index.fill_(cfg.MMT.NUM_PAIRS - 1)
    folder = Path(cfg.OUTPUT_DIR)
    name = BEST if cfg.MMT.SELECTION.RULE == "best" else "model_final"
    folder.mkdir(parents=True)
    MMTCheckpointer(model, str(folder)).save(name)
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


@pytest.fixture
def make_run(tiny_config):
    """A function: overrides, the recipe's name, and what is done to the new networks -> a run's configuration
    and folder.
    """

    def make(name: str = "plaza2metro_mmt", prepare=scatter, **overrides):
        cfg = tiny_config(name, **overrides)
        return cfg, write_run(cfg, prepare)

    return make


@pytest.fixture
def crops(tiny_config) -> list[str]:
    """Files of the target's query images."""
    tiny_config()  # says how large the world is
    return [item[0] for item in build_dataset("SynthMetro").query]
