"""The networks of the VisDA-2020 entry take the published ImageNet weights, by names and shapes, and compute.

The public layouts (XingangPan/IBN-Net, zhanghang1989/ResNeSt) are written down here as far as they differ
from torchvision's: which normalisation layers are IBN, and how wide they are.
"""

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.backbones import build_backbone
from torchvision import models

from mmt_plugin.config import add_mmt_config


def build(name: str, depth: str, path: str = "", with_ibn: bool = True) -> torch.nn.Module:
    cfg = get_cfg()
    add_mmt_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    keys = cfg.MODEL.BACKBONE
    keys.NAME, keys.DEPTH, keys.WITH_IBN = f"build_{name}_backbone", depth, with_ibn
    keys.LAST_STRIDE, keys.PRETRAIN, keys.PRETRAIN_PATH = 1, bool(path), path
    return build_backbone(cfg)


def with_ibn(state: dict, layers: dict[str, tuple[int, str, str]]) -> dict:
    """Give some BN layers the two halves of IBN: name -> (channels of the first, its name, the other's)."""
    changed = {}
    for name, value in state.items():
        layer, _, leaf = name.rpartition(".")
        if layer not in layers:
            changed[name] = value
            continue
        first, first_name, second_name = layers[layer]
        halves = {first_name: value[:first], second_name: value[first:]} if value.dim() else {"BN": value}
        for half, part in halves.items():
            if half == "BN" or leaf in ("weight", "bias"):  # instance normalisation keeps no statistics
                changed[f"{layer}.{half}.{leaf}"] = part.clone()
    return changed


def resnet_ibn_a(state: dict) -> dict:
    """IBN-a in the first normalisation of every block of layers 1 to 3; half of the channels by instance."""
    names = {name.rpartition(".")[0] for name in state if name.endswith("bn1.weight")}
    layers = {name for name in names if name.startswith(("layer1", "layer2", "layer3"))}
    return with_ibn(state, {name: (len(state[f"{name}.weight"]) // 2, "IN", "BN") for name in layers})


def densenet_ibn_a(state: dict) -> dict:
    """In every third layer of the first three blocks; 60 % of the channels by batch, before the others."""
    layers = {}
    for block, count in enumerate((6, 12, 32), 1):
        for layer in range(1, count + 1, 3):
            name = f"features.denseblock{block}.denselayer{layer}.norm1"
            layers[name] = (int(len(state[f"{name}.weight"]) * 0.6), "BN", "IN")
    return with_ibn(state, layers)


def own_layout(name: str, depth: str) -> dict:
    """ResNeSt's public code is the host's; its classifier is `fc`."""
    return {**build(name, depth, with_ibn=False).state_dict(), "fc.weight": torch.zeros(1000, 2048)}


def resnext101_32x4d() -> torch.nn.Module:
    return models.ResNet(models.resnet.Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)


PUBLIC = {
    "resnet50_ibn_a": ("resnet", "50x", lambda: resnet_ibn_a(models.resnet50().state_dict()), 2048),
    "resnet101_ibn_a": ("resnet", "101x", lambda: resnet_ibn_a(models.resnet101().state_dict()), 2048),
    "resnext101_ibn_a": (
        *("resnext", "101x"),
        lambda: resnet_ibn_a(
            models.ResNet(models.resnet.Bottleneck, [3, 4, 23, 3], 1000, False, 32, 4).state_dict()
        ),
        2048,
    ),
    "densenet169_ibn_a": (
        "densenet",
        "169x",
        lambda: densenet_ibn_a(models.densenet169().state_dict()),
        1664,
    ),
    "resnest50": ("resnest", "50x", lambda: own_layout("resnest", "50x"), 2048),
    "resnest101": ("resnest", "101x", lambda: own_layout("resnest", "101x"), 2048),
}


@torch.no_grad()
@pytest.mark.parametrize("network", PUBLIC)
def test_published_weights_fit_and_compute(network, tmp_path):
    name, depth, layout, channels = PUBLIC[network]
    published = {key: value.half() if value.dim() > 1 else value for key, value in layout().items()}
    torch.save({f"module.{key}": value for key, value in published.items()}, tmp_path / "published.pth")
    backbone = build(name, depth, str(tmp_path / "published.pth"), "ibn" in network)
    own = backbone.state_dict()
    assert {key for key in published if not key.startswith(("fc.", "classifier."))} == set(own)
    assert all(torch.equal(own[key], value.to(own[key])) for key, value in published.items() if key in own)
    for mode in (True, False):
        features = backbone.train(mode)(torch.rand(2, 3, 64, 32))
        assert features.shape == (2, channels, 4, 2)
        assert features.isfinite().all()
