"""Exports give the run's features, in the host itself too, or are not written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.modeling.meta_arch import build_model

import mmt_plugin
from mmt_plugin.challenge.ranked_run import load_run
from mmt_plugin.config import load_config
from mmt_plugin.data.items import build_dataset
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.resume.checkpointer import MMTCheckpointer
from mmt_plugin.engine.trained_model import load_for_evaluation
from mmt_plugin.inference import FORMATS, ExportError, FeatureExtractor, export
from mmt_plugin.inference.exports import TOLERANCE
from mmt_plugin.modeling.layers import DomainBatchNorm
from mmt_plugin.modeling.network import build_network
from mmt_plugin.weights.load_network import load_file, load_source_weights

PLUS = {"MMT__MOCO__QUEUE_SIZE": 16, "MMT__IMAGES_PER_BN": 4}
RESNET = {"MODEL__BACKBONE__NAME": "build_resnet_backbone", "MODEL__BACKBONE__DEPTH": "18x"}
# fastreid 1.4.0 with its repairs and nothing else of the plugin; prints what its own evaluation finds.
AS_THE_HOST = """
import importlib, json, sys, types

import torch

plugin = types.ModuleType("mmt_plugin")
plugin.__path__ = [sys.argv[1]]
sys.modules["mmt_plugin"] = plugin
host, parts = (importlib.import_module(f"mmt_plugin.{name}") for name in ("host", "host_parts"))
host.repair(parts.PARTS)

from fastreid.config import get_cfg
from fastreid.engine import DefaultPredictor, DefaultTrainer
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils.checkpoint import Checkpointer

assert "MutualMeanTeaching" not in META_ARCH_REGISTRY._obj_map
cfg = get_cfg()
cfg.merge_from_file(sys.argv[2])
cfg.freeze()
model = DefaultTrainer.build_model(cfg)
assert type(model).__module__.startswith("fastreid.")
Checkpointer(model).load(cfg.MODEL.WEIGHTS)
crops = 255 * torch.rand(2, 3, *cfg.INPUT.SIZE_TEST)
assert torch.equal(DefaultPredictor(cfg)(crops), model.eval()({"images": crops}))  # what its demo calls
print(json.dumps(DefaultTrainer.test(cfg, model), default=float))
"""


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_features_of_the_target(make_run, crops, tmp_path, format):
    """From a run with domain-specific, chunked BN, through the files alone."""
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    cfg, folder = make_run("plaza2metro_mmt_plus", **PLUS)
    assert any(isinstance(layer, DomainBatchNorm) for layer in build_model(cfg).modules())
    difference = export(folder, format, tmp_path / "export")
    assert difference <= TOLERANCE
    expected = FeatureExtractor(folder, normalize=False)(crops)
    for source in (tmp_path / "export", next((tmp_path / "export").glob("model.*"))):
        features = FeatureExtractor(source, batch_size=5, normalize=False)(crops)
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)
    assert features.abs().max() > 0.1


def test_the_host_alone_evaluates_an_export_to_the_same_numbers(make_run, tmp_path, monkeypatch):
    cfg, folder = make_run("plaza2metro_mmt_plus", DATASETS__TESTS=("Market1501",), **PLUS)
    # The built-in world lies in Market-1501's folders, under its file names.
    (tmp_path / "Market-1501-v15.09.15").symlink_to(build_dataset("SynthMetro").dataset_dir)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    model = build_model(cfg)
    MMTCheckpointer(model).load(str(folder / "model_final.pth"))
    ours = MMTTrainer.test(cfg, model)

    export(folder, "fastreid", tmp_path / "export")
    plugin = str(Path(mmt_plugin.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", AS_THE_HOST, plugin, str(tmp_path / "export" / "config.yaml")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert 0 < theirs["mAP"] < 100
    for metric in ("mAP", "mINP", "Rank-1", "Rank-5", "Rank-10"):
        assert theirs[metric] == pytest.approx(ours[metric], abs=1e-6), metric


def test_a_plain_checkpoint_has_no_classifier_and_no_keys_of_the_plugin(make_run, tmp_path):
    folder = make_run(**RESNET)[1]
    export(folder, "fastreid", tmp_path / "export")
    text = (tmp_path / "export" / "config.yaml").read_text()
    assert "MMT" not in text
    assert "PSEUDO_LABELS" not in text
    weights = load_file(tmp_path / "export" / "model.pth")["model"]
    assert weights["heads.weight"].shape == (0, 512)
    assert all(key.startswith(("backbone.", "heads.")) for key in weights)
    # evaluate.py opens it as it does a run.
    opened = load_for_evaluation(load_run(str(tmp_path / "export")).cfg).state_dict()
    assert all(torch.equal(opened[key], weights[key]) for key in weights.keys() - {"heads.weight"})


def test_safetensors_start_another_run(make_run, tmp_path):
    cfg, folder = make_run(**RESNET)
    export(folder, "safetensors", tmp_path / "export")
    network = build_network(cfg)
    load_source_weights(network, str(tmp_path / "export" / "model.safetensors"))
    teacher = load_file(folder / "model_final.pth")["model"]
    assert torch.equal(network.backbone.conv1.weight, teacher["teachers.1.backbone.conv1.weight"])


def test_a_stem_without_relu_becomes_one_with(make_run, crops, tmp_path):
    """fastreid's ResNet always has that ReLU: its weights are changed so that it does nothing."""
    folder = make_run(
        MODEL__BACKBONE__NAME="build_resnet_backbone",
        MODEL__BACKBONE__DEPTH="50x",
        MODEL__BACKBONE__STEM_RELU=False,
        MMT__NUM_PAIRS=1,
        MMT__WEIGHTS=("a.pth",),
        INPUT__SIZE_TEST=[32, 16],
    )[1]
    extremes = [np.full((32, 16, 3), level, np.uint8) for level in (0, 255)]
    noise = np.random.default_rng(0).integers(0, 2, (32, 16, 3)).astype(np.uint8) * 255
    export(folder, "fastreid", tmp_path / "export", [*crops[:4], *extremes, noise])
    assert load_config(tmp_path / "export" / "config.yaml").MODEL.BACKBONE.STEM_RELU


def test_what_the_host_cannot_build_is_refused(make_run, tmp_path):
    shallow = make_run(**RESNET, MODEL__BACKBONE__STEM_RELU=False, OUTPUT_DIR=str(tmp_path / "a"))[1]
    foreign = make_run(
        MODEL__BACKBONE__NAME="build_densenet_backbone",
        MODEL__BACKBONE__DEPTH="121x",
        MMT__NUM_PAIRS=1,
        MMT__WEIGHTS=("a.pth",),
        OUTPUT_DIR=str(tmp_path / "b"),
    )[1]
    for folder, key in ((shallow, "STEM_RELU"), (foreign, "BACKBONE.NAME is build_densenet_backbone")):
        with pytest.raises(ExportError, match=key):
            export(folder, "fastreid", tmp_path / "export")
        assert sorted(path.name for path in tmp_path.iterdir() if "export" in path.name) == []


def test_an_export_that_differs_leaves_nothing(make_run, tmp_path, monkeypatch):
    folder = make_run()[1]
    write = FORMATS["torchscript"]

    def write_another(network, cfg, path):
        network.pixel_mean += 1
        return write(network, cfg, path)

    monkeypatch.setitem(FORMATS, "torchscript", write_another)
    with pytest.raises(ExportError, match=r"differ from the network's by up to .* more than 0\.0001"):
        export(folder, "torchscript", tmp_path / "export")
    assert not list(tmp_path.glob("export*"))


def test_a_folder_that_is_there_is_left_alone(make_run, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine").touch()
    with pytest.raises(ExportError, match="is there already"):
        export(make_run()[1], "torchscript", tmp_path / "export")
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["mine"]


def test_without_the_data_set_images_must_be_named(make_run, crops, tmp_path, monkeypatch):
    folder = make_run(DATASETS__TESTS=("Market1501",))[1]
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="--images"):
        export(folder, "torchscript", tmp_path / "export")
    export(folder, "torchscript", tmp_path / "export", crops[:2])
