"""Translation runs: schedules, what is written, and that an interruption changes nothing."""

import json
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import REPOSITORY

from mmt_plugin.engine.training_step import NotFiniteError
from mmt_plugin.sda.phases import encoder_recipe, train
from mmt_plugin.sda.translation_hooks import linear_decay
from mmt_plugin.sda.translation_trainer import SDATrainer
from mmt_plugin.weights.load_network import CheckpointError, load_file


def test_the_published_learning_rates():
    """1 up to the 50th epoch, .9804 in the next, .0196 in the last."""
    factors = [linear_decay(epoch, max_epoch=100, decay_epochs=50) for epoch in range(100)]
    assert factors[:50] == [1.0] * 50
    assert factors[50] == pytest.approx(0.9804, abs=1e-4)
    assert factors[99] == pytest.approx(0.0196, abs=1e-4)


def test_a_run_writes_its_model_sheets_and_results(sda_config):
    cfg = sda_config()
    losses = train(cfg, resume=False)
    folder = Path(cfg.OUTPUT_DIR)
    assert json.loads((folder / "results.json").read_text())["metrics"] == losses
    judges = {"discriminator_to_target", "discriminator_to_source"}
    names = {"adversarial", "cycle", "identity", "relation", *judges}
    assert losses.keys() == {f"loss_{name}" for name in names}
    assert all(value > 0 for value in losses.values())
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    rates = [line["lr"] for line in lines if "lr" in line]
    assert rates == pytest.approx([1e-3, 5e-4])

    sheets = sorted((folder / "sheets").glob("*.jpg"))
    assert [sheet.name for sheet in sheets] == ["epoch_0001.jpg", "epoch_0002.jpg"]
    assert Image.open(sheets[0]).size == (3 * (24 + 4) + 4, 4 * (14 + 32 + 4))
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [image.step for image in events.Images("sheet")] == [2, 5]
    assert train(cfg, resume=True) == losses  # complete: nothing is trained


def weights_of(folder: str) -> dict:
    checkpoint = load_file(Path(folder, "model_final.pth"))
    checkpoint.pop("RunState")  # with times
    return checkpoint


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


@pytest.mark.parametrize("recipe", ["sda/plaza2metro", "sda/plaza2metro_spgan"])
def test_a_run_stopped_anywhere_ends_with_the_same_bits(sda_config, tmp_path, recipe, monkeypatch):
    """Stopped within the second epoch; the pools, which draw at random, are full by then."""
    settings = {"SDA__SELF_SIMILARITY__START_EPOCH": 1, "SDA__POOL_SIZE": 6}
    train(sda_config(recipe, OUTPUT_DIR=str(tmp_path / "whole"), **settings), resume=False)

    cfg = sda_config(recipe, OUTPUT_DIR=str(tmp_path / "parts"), **settings)
    with closing(SDATrainer(cfg)) as trainer:
        trainer.resume_or_load(resume=False)
        step = trainer._trainer.run_step

        def stop_after_the_fifth() -> None:
            step()
            if trainer.iter == 4:
                trainer.stop._signal = 15

        trainer._trainer.run_step = stop_after_the_fifth
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    assert load_file(tmp_path / "parts" / "model_stopped.pth")["step"] == 2
    # The encoders are in the checkpoint.
    train(
        sda_config(
            recipe,
            OUTPUT_DIR=str(tmp_path / "parts"),
            SDA__SOURCE_ENCODER="/gone.pth",
            SDA__TARGET_ENCODER="",
            **settings,
        ),
        resume=True,
    )
    whole, parts = (weights_of(str(tmp_path / name)) for name in ("whole", "parts"))
    assert {"optimizer_generators", "optimizer_discriminators", "schedule_generators"} <= whole.keys()
    assert any(name.startswith("pools.") for name in whole["model"])
    assert equal(whole, parts)
    texts = [(tmp_path / name / "results.json").read_text() for name in ("whole", "parts")]
    assert json.loads(texts[0])["metrics"] == json.loads(texts[1])["metrics"]
    sheets = [(tmp_path / name / "sheets" / "epoch_0002.jpg").read_bytes() for name in ("whole", "parts")]
    assert sheets[0] == sheets[1]


def test_everything_but_the_encoders_is_trained(sda_config):
    cfg = sda_config(SOLVER__MAX_EPOCH=1)
    with closing(SDATrainer(cfg)) as trainer:
        trainer.resume_or_load(resume=False)
        before = {name: p.detach().clone() for name, p in trainer.raw_model.named_parameters()}
        buffers = {name: b.clone() for name, b in trainer.raw_model.regularizer.named_buffers()}
        trainer.train()
        moved = {name for name, p in trainer.raw_model.named_parameters() if not torch.equal(p, before[name])}
        # A bias before instance normalisation has no gradient but rounding; weights all move.
        weights = {name for name in before if name.endswith("weight")}
        assert moved & weights == {name for name in weights if not name.startswith("regularizer.")}
        assert not any(name.startswith("regularizer.") for name in moved)
        after = dict(trainer.raw_model.regularizer.named_buffers())
        assert all(torch.equal(value, after[name]) for name, value in buffers.items())


@pytest.mark.parametrize("key", ["SDA__SOURCE_ENCODER", "SDA__TARGET_ENCODER"])
def test_a_missing_encoder_ends_the_run(sda_config, key):
    with pytest.raises(CheckpointError, match=r"'/nowhere\.pth' does not exist"):
        train(sda_config(**{key: "/nowhere.pth"}), resume=False)


def test_a_bad_number_never_reaches_the_weights(sda_config):
    cfg = sda_config()
    with closing(SDATrainer(cfg)) as trainer:
        trainer.resume_or_load(resume=False)
        with torch.no_grad():
            trainer.raw_model.discriminators["to_target"].layers[0].bias.fill_(float("nan"))
        before = [p.detach().clone() for p in trainer.raw_model.generators.parameters()]
        with pytest.raises(NotFiniteError, match="loss_adversarial is nan"):
            trainer.train()
        assert all(map(torch.equal, before, trainer.raw_model.generators.parameters()))


def test_the_source_encoder_is_pre_trained_at_its_own_size(sda_config):
    path = REPOSITORY / "configs" / "sda" / "plaza2metro.yml"
    recipe = encoder_recipe(sda_config(), str(path))
    assert recipe.INPUT.SIZE_TRAIN == recipe.INPUT.SIZE_TEST == [64, 32]
    assert recipe.MODEL.META_ARCHITECTURE == "MutualMeanTeaching"
    assert recipe.PSEUDO_LABELS.METHOD == "ground_truth"
    assert Path(sda_config().OUTPUT_DIR, "source_seed1") == Path(recipe.OUTPUT_DIR)
