"""Backbones of timm, family by family: build, train a step, save, load, export, with the same features."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import batch
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import build_model
from PIL import Image

from mmt_plugin.config import ConfigError, check_config
from mmt_plugin.engine.optimizer import build_optimizer
from mmt_plugin.inference import FeatureExtractor
from mmt_plugin.inference.exports import export
from mmt_plugin.modeling.backbones import timm as timm_backbones
from mmt_plugin.modeling.backbones.timm import TimmError
from mmt_plugin.modeling.layers import SOURCE, TARGET, DomainBatchNorm
from mmt_plugin.weights.backbones import PretrainedError

FAMILIES = {  # and whether they have BN layers
    "test_vit": False,
    "test_vit3": False,
    "test_convnext": False,
    "test_nfnet": False,
    "test_mambaout": False,
    "swin_tiny_patch4_window7_224": False,
    "test_maxvit": True,
    "test_resnet": True,
    "test_efficientnet": True,
    "mobilenetv3_small_050": True,
    "regnetx_002": True,
    "xcit_nano_12_p16_224": True,
    "fastvit_t8": True,
}


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="the package timm is not installed")


@pytest.fixture
def timm_config(timm, tiny_config):
    def make(depth: str, name: str = "plaza2metro_mmt", **overrides):
        settings = {"MODEL__BACKBONE__NAME": "build_timm_backbone", "MODEL__BACKBONE__DEPTH": depth}
        return tiny_config(name, **{**settings, "MMT__NUM_PAIRS": 1, **overrides})

    return make


@pytest.mark.parametrize("depth", FAMILIES)
def test_a_family_trains_is_saved_loaded_and_exported(timm_config, tmp_path, depth):
    cfg = timm_config(depth, "plaza2metro_mmt_plus", MMT__IMAGES_PER_BN=2, INPUT__SIZE_TRAIN=[96, 32])
    cfg.defrost()
    cfg.INPUT.SIZE_TEST = [96, 32]
    torch.manual_seed(0)
    model = build_model(cfg)
    model.set_classifiers(None, 3)
    has_norm = any(isinstance(m, DomainBatchNorm) for m in model.students[0].backbone.modules())
    assert has_norm == FAMILIES[depth]
    inputs = batch(1, size=(96, 32))
    inputs["domains"] = torch.tensor([SOURCE] * 2 + [TARGET] * 4)
    optimizer = build_optimizer(cfg, model.students)
    losses = model(inputs)
    sum(losses.values()).backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)
    optimizer.step()
    model.update_teachers(0.5)
    model.eval()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 32, 3), dtype=np.uint8)
    files = [tmp_path / f"{k}.png" for k in range(3)]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    expected = model.extract(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())[0]
    assert expected.std(dim=0).max() > 0  # the network tells images apart

    run = tmp_path / "run"
    run.mkdir()
    Path(run, "config.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict()}, run / "model_final.pth")
    assert export(run, "safetensors", tmp_path / "exported", files) <= 1e-4
    for source in (run, tmp_path / "exported"):
        features = FeatureExtractor(source, normalize=False)(files)
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_features_are_those_of_timm(timm, timm_config, tmp_path):
    """Weights by path, made for other images: position embeddings are resized, nothing else changes."""
    source = timm.create_model("test_vit", img_size=(160, 160))
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    cfg = timm_config(
        "test_vit",
        MODEL__BACKBONE__PRETRAIN=True,
        MODEL__BACKBONE__PRETRAIN_PATH=str(tmp_path / "weights.pth"),
    )
    ours = build_backbone(cfg).eval()
    theirs = timm.create_model("test_vit", img_size=(64, 32), num_classes=0, global_pool="").eval()
    weights = timm.models.vision_transformer.checkpoint_filter_fn(source.state_dict(), theirs)
    theirs.load_state_dict(weights, strict=False)
    images = torch.randn(2, 3, 64, 32)
    tokens = theirs.forward_features(images)
    torch.testing.assert_close(ours(images), tokens[:, 1:].transpose(1, 2).reshape(2, -1, 4, 2))
    cfg.defrost()
    cfg.MODEL.BACKBONE.TOKENS = "class"
    torch.testing.assert_close(build_backbone(cfg).eval()(images)[..., 0, 0], tokens[:, 0])


def test_fused_activations_and_weights_by_path(timm, timm_config, tmp_path):
    source = timm.create_model("test_efficientnet").eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    cfg = timm_config(
        "test_efficientnet",
        MODEL__BACKBONE__PRETRAIN=True,
        MODEL__BACKBONE__PRETRAIN_PATH=str(tmp_path / "weights.pth"),
    )
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(build_backbone(cfg).eval()(images), source.forward_features(images))
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(PretrainedError, match="lacks"):
        build_backbone(cfg)


@pytest.mark.parametrize("depth", ["test_vit", "test_efficientnet"])
def test_gradient_checkpointing_keeps_numbers(timm_config, depth):
    found = []
    for enabled in (False, True):
        cfg = timm_config(depth, MODEL__BACKBONE__GRADIENT_CHECKPOINTING=enabled)
        torch.manual_seed(0)
        model = build_model(cfg)
        model.set_classifiers(None, 3)
        torch.manual_seed(1)  # for drop path
        losses = model(batch(1))
        sum(losses.values()).backward()
        found.append((model, losses["loss_ce"]))
    assert torch.equal(found[0][1], found[1][1])
    for ours, theirs in zip(found[0][0].parameters(), found[1][0].parameters(), strict=True):
        assert ours.grad is None if theirs.grad is None else torch.allclose(ours.grad, theirs.grad)
    for ours, theirs in zip(found[0][0].buffers(), found[1][0].buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_no_batch_norm_is_said(timm_config, caplog):
    with caplog.at_level(logging.INFO, logger="fastreid.mmt.timm"):
        build_backbone(timm_config("test_vit"))
    assert "has no batch normalisation" in caplog.text


@pytest.mark.parametrize(
    ("depth", "overrides", "message"),
    [
        ("resnet5O", {}, r"MODEL\.BACKBONE\.DEPTH is 'resnet5O', no model of timm .*similar names: resnet50"),
        ("test_vit", {"INPUT__SIZE_TEST": [128, 64]}, "set them equal"),
        ("test_convnext", {"MODEL__BACKBONE__TOKENS": "class"}, "has no class token"),
        ("test_vit", {"MODEL__BACKBONE__NORM": "GN"}, r"MODEL\.BACKBONE\.NORM is 'GN'"),
    ],
)
def test_what_cannot_be_built_is_an_error(timm_config, depth, overrides, message):
    with pytest.raises(TimmError, match=message):
        build_backbone(timm_config(depth, **overrides))


def test_weights_that_cannot_be_downloaded_have_a_place(timm, timm_config, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(timm.models, "load_pretrained", offline)
    cfg = timm_config("test_vit.r160_in1k", MODEL__BACKBONE__PRETRAIN=True)
    place = tmp_path / "checkpoints" / "test_vit.r160_in1k.safetensors"
    with pytest.raises(PretrainedError, match=r"no network") as error:
        build_backbone(cfg)
    assert str(place) in str(error.value)
    assert "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors" in str(error.value)
    safetensors = pytest.importorskip("safetensors.torch")
    place.parent.mkdir()
    weights = timm.create_model("test_vit").state_dict()
    safetensors.save_file(weights, place)
    torch.testing.assert_close(build_backbone(cfg).model.cls_token, weights["cls_token"])


def test_without_timm_the_command_that_installs_it_is_said(tiny_config, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    cfg = tiny_config(MODEL__BACKBONE__NAME="build_timm_backbone", MODEL__BACKBONE__DEPTH="test_vit")
    with pytest.raises(TimmError, match=r"pip install 'mmt_plugin\[timm\]'"):
        timm_backbones.build_timm_backbone(cfg)


def test_tokens_are_a_map_or_a_class(tiny_config):
    with pytest.raises(ConfigError, match=r"MODEL\.BACKBONE\.TOKENS is 'all'; choose one of map, class"):
        check_config(tiny_config(MODEL__BACKBONE__TOKENS="all"))
