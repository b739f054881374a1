"""The three commands of docs/sda.md on a tiny world: train the translation, write it, pre-train on it."""

import json
import runpy

import pytest
import torch
from small_sda import SDA_TINY, files
from tiny import REPOSITORY, TINY, as_options

CONFIGS = REPOSITORY / "configs"
SOURCE_OPTS = as_options(
    {
        "SOLVER.ITERS_PER_EPOCH": 2,
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.IMS_PER_BATCH": 8,
        "DATALOADER.NUM_INSTANCE": 2,
        "SOLVER.WARMUP_ITERS": 0,
        "TEST.EVAL_PERIOD": 1,
    }
)


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run a tool in this process, on a world of its own."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    # It would give fastreid's logger handlers that outlive the test.
    monkeypatch.setattr("fastreid.engine.default_setup", lambda cfg, args: None)
    monkeypatch.setattr("fastreid.utils.logger.setup_logger", lambda: None)

    def run(tool: str, config: str, *options: object) -> None:
        words = [tool, "--config-file", CONFIGS / f"{config}.yml", *options]
        monkeypatch.setattr("sys.argv", [str(word) for word in words])
        runpy.run_path(str(REPOSITORY / "tools" / tool), run_name="__main__")

    return run


def test_three_commands_lead_to_a_model_pre_trained_on_translations(call, tmp_path):
    options = as_options({**SDA_TINY, "OUTPUT_DIR": tmp_path / "sda", "MMT.SOURCE.OPTS": SOURCE_OPTS})
    call("train_net.py", "sda/plaza2metro", *options)
    assert (tmp_path / "sda" / "source_seed1" / "model_final.pth").exists()
    final = torch.load(tmp_path / "sda" / "model_final.pth", weights_only=True)
    encoder = torch.load(tmp_path / "sda" / "source_seed1" / "model_final.pth", weights_only=True)
    name = "backbone.conv1.conv.weight"
    for role in ("source", "target"):  # F^t is F^s where none is named
        loaded = final["model"][f"regularizer.{role}.network.{name}"]
        assert torch.equal(loaded, encoder["model"][f"students.0.{name}"])
    call("train_net.py", "sda/plaza2metro", "--resume", *options)  # complete: does nothing
    with pytest.raises(SystemExit, match="already holds a run"):
        call("train_net.py", "sda/plaza2metro", *options)

    call("translate.py", "sda/plaza2metro", *options)
    (raw,) = (tmp_path / "datasets").glob("synthetic/SynthPlaza_*[!a]/bounding_box_train")
    (translated,) = (tmp_path / "datasets").glob("synthetic/SynthPlaza_*_sda/bounding_box_train")
    assert files(raw).keys() == files(translated).keys()
    assert not files(raw).items() & files(translated).items()

    tiny = {**TINY, "OUTPUT_DIR": tmp_path / "source_sda", "SOLVER.MAX_EPOCH": 1, "TEST.EVAL_PERIOD": 1}
    tiny["PSEUDO_LABELS.METHOD"] = "ground_truth"
    call("train_net.py", "synthetic/source_sda", *as_options(tiny))
    metrics = json.loads((tmp_path / "source_sda" / "results.json").read_text())["metrics"]
    assert 0 < metrics["mAP"] <= 100


@pytest.mark.parametrize(
    ("tool", "flags", "keys", "message"),
    [
        ("train_net.py", ["--eval-only"], [], "--eval-only: a translation has no metrics"),
        ("train_net.py", [], ["SDA.SOURCE_ENCODER", "/nowhere.pth"], "'/nowhere.pth' does not exist"),
        ("translate.py", [], [], "model_final.pth' does not exist"),
        ("translate.py", ["--quality", 0], [], "--quality is 0"),
    ],
)
def test_mistakes_end_with_one_sentence(call, tmp_path, tool, flags, keys, message):
    settings = as_options({**SDA_TINY, "OUTPUT_DIR": tmp_path / "run"})
    with pytest.raises(SystemExit, match=message) as stop:
        call(tool, "sda/plaza2metro", *flags, *settings, *keys)
    assert str(stop.value).startswith("error: ")


def test_only_a_translation_can_be_applied(call, tmp_path):
    with pytest.raises(SystemExit, match="is no recipe of SDA"):
        call("translate.py", "synthetic/plaza2metro_mmt", "OUTPUT_DIR", tmp_path)
