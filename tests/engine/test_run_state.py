"""What a checkpoint holds, and what a resumed run insists on."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from mmt_plugin.data.items import training_items
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.pipeline import train
from mmt_plugin.engine.resume.run_state import generators, images_digest, set_generators
from mmt_plugin.weights.load_network import CheckpointError, load_file

pytestmark = pytest.mark.fault


@pytest.fixture
def finished(tiny_config):
    """Config of a run that is there to be resumed, and a function that resumes it under overrides."""

    def resume(**overrides) -> MMTTrainer:
        trainer = MMTTrainer(tiny_config(SOLVER__MAX_EPOCH=3, **overrides))
        trainer.resume_or_load(resume=True)
        return trainer

    cfg = tiny_config()
    train(cfg, resume=False)
    return cfg, resume


def test_a_checkpoint_holds_all_that_a_run_is(finished):
    checkpoint = load_file(Path(finished[0].OUTPUT_DIR, "model_final.pth"))
    parts = {"model", "optimizer", "lr_sched", "PseudoLabelHook", "RunState", "epoch"}
    assert parts <= checkpoint.keys()
    assert checkpoint["RunState"].keys() == {
        "generators", "scalars", "written", "metrics_bytes", "config", "images",
    }  # fmt: skip
    assert {"labels", "centroids", "counts", "eps"} <= checkpoint["PseudoLabelHook"]["labels"].keys()
    assert any(name.startswith("teachers.1.") for name in checkpoint["model"])
    buffers = dict(MMTTrainer.build_model(finished[0]).named_buffers())
    temporary = {"pixel_mean", "pixel_std"}
    assert buffers.keys() - temporary <= checkpoint["model"].keys()


def test_generators_continue():
    state = generators()
    drawn = [(random.random(), np.random.rand(), torch.rand(1)) for _ in range(2)]
    set_generators(state)
    assert [(random.random(), np.random.rand(), torch.rand(1)) for _ in range(2)] == drawn


def test_a_run_is_resumed_anywhere_and_for_longer(finished):
    assert finished[1](DATALOADER__NUM_WORKERS=1, SOLVER__CHECKPOINT_PERIOD=1).start_epoch == 2


def test_a_run_that_ended_before_its_first_checkpoint_is_forgotten(tiny_config):
    cfg = tiny_config()
    Path(cfg.OUTPUT_DIR).mkdir()
    metrics = Path(cfg.OUTPUT_DIR, "metrics.json")
    metrics.write_text('{"iteration": 0, "of": 1}\n')
    train(cfg, resume=True)
    assert metrics.read_text().startswith("{")
    assert '"of"' not in metrics.read_text()


def test_another_recipe_is_refused(finished, observe):
    metrics = Path(finished[0].OUTPUT_DIR, "metrics.json").read_bytes()
    with pytest.raises(CheckpointError, match=r"another recipe: SOLVER\.BASE_LR 0\.00035 -> 0\.5") as error:
        finished[1](SOLVER__BASE_LR=0.5)
    assert Path(finished[0].OUTPUT_DIR, "metrics.json").read_bytes() == metrics
    observe("--resume with another config", error.value)


def test_other_images_are_refused(finished, monkeypatch, observe):
    items = training_items(finished[0].DATASETS.TARGETS)
    monkeypatch.setattr("mmt_plugin.engine.trainer.training_items", lambda *_: items[:-1])
    with pytest.raises(CheckpointError, match=r"60 images.*now 59 images") as error:
        finished[1]()
    observe("--resume after the training images have changed", error.value)


def test_the_digest_is_of_names_not_of_places():
    here, there, other = ([(f"{root}/train/{n}.jpg", 1, 1) for n in (1, 2)] for root in ("/a", "/b/c", "/a"))
    assert images_digest(here) == images_digest(there)
    assert images_digest(here) != images_digest([*other[:1], ("/a/train/3.jpg", 1, 1)])
