"""PRETRAIN_PATH takes the files of timm and torchreid, by the names and shapes that they really write.

`layouts.json.gz` holds them: {"package model": {name: "64x3x7x7", ...}}, without counters of batches. Where a
package is installed, the table is compared with it, and the networks are to compute the same.
`python tests/weights/test_layouts.py` writes the table anew.
"""

import gzip
import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.backbones.vision_transformer import VisionTransformer
from torch import nn
from torchvision import models

from mmt_plugin.weights.backbones import fill_backbone

TABLE = Path(__file__).with_name("layouts.json.gz")
# The package's name of a model: fastreid's builder and MODEL.BACKBONE's keys.
MODELS = {
    "timm regnety_008": ("regnet", {"DEPTH": "800y", "LAST_STRIDE": 2}),
    "timm regnetx_008": ("regnet", {"DEPTH": "800x", "LAST_STRIDE": 2}),
    "timm resnest50d": ("resnest", {"DEPTH": "50x", "LAST_STRIDE": 2}),
    "timm densenet121": ("densenet", {"DEPTH": "121x", "LAST_STRIDE": 2}),
    "timm deit_small_distilled_patch16_224": ("vit", {}),
    "timm mobilenetv2_100": ("mobilenetv2", {"DEPTH": "1.0x"}),
    "torchreid osnet_x0_25": ("osnet", {"DEPTH": "x0_25"}),
    "torchreid osnet_ibn_x1_0": ("osnet", {"DEPTH": "x1_0", "WITH_IBN": True}),
}


def ours(builder: str, keys: dict) -> nn.Module:
    if builder == "vit":
        shape = {"embed_dim": 384, "depth": 12, "num_heads": 6, "mlp_ratio": 4, "qkv_bias": True}
        return VisionTransformer((224, 224), norm_layer=partial(nn.LayerNorm, eps=1e-6), **shape)
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = f"build_{builder}_backbone"
    for key, value in keys.items():
        cfg.MODEL.BACKBONE[key] = value
    return build_backbone(cfg)


def theirs(name: str) -> nn.Module:
    """The model of the package; the test is skipped where that is not installed."""
    package, model = name.split(" ")
    if package == "timm":
        return pytest.importorskip("timm").create_model(model)
    found = importlib.util.find_spec("torchreid")
    if found is None:
        pytest.skip("torchreid is not installed")
    # The file of the architecture alone: the package asks for OpenCV and more.
    folder = Path(found.origin).parent / "reid" / "models"
    spec = importlib.util.spec_from_file_location("_architecture", folder / "osnet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, model)(num_classes=5, pretrained=False)


def layout_of(network: nn.Module) -> dict[str, str]:
    state = network.state_dict()
    return {
        name: "x".join(map(str, value.shape)) for name, value in state.items() if "num_batches" not in name
    }


def load_table() -> dict[str, dict[str, str]]:
    return json.loads(gzip.decompress(TABLE.read_bytes()))


@pytest.mark.parametrize("name", MODELS)
def test_a_file_of(name):
    layout, (builder, keys) = load_table()[name], MODELS[name]
    # Each tensor has a number of its own, so that it is seen which is taken for which.
    written = {
        name: torch.full([int(n) for n in shape.split("x") if n], float(number))
        for number, (name, shape) in enumerate(layout.items())
    }
    network = ours(builder, keys)
    fill_backbone(network, {"state_dict": written, "epoch": 3}, "theirs.pth", f"build_{builder}_backbone")
    numbers = [
        value.flatten()[-1].item() for name, value in network.state_dict().items() if "batches" not in name
    ]
    assert len({*numbers}) == len(numbers)
    assert all(number == round(number) for number in numbers)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_table_is_what_the_package_writes(name):
    network = theirs(name).eval()
    assert layout_of(network) == load_table()[name]
    builder, keys = MODELS[name]
    same_features(ours(builder, keys), builder, network, name.split(" ")[0])


@torch.no_grad()
def test_torchvisions_mobilenet():
    network = ours("mobilenetv2", {"DEPTH": "1.0x"})
    same_features(network, "mobilenetv2", models.mobilenet_v2().eval(), "torchvision")


def same_features(network: nn.Module, builder: str, other: nn.Module, package: str) -> None:
    fill_backbone(network, other.state_dict(), "theirs.pth", f"build_{builder}_backbone")
    if builder == "vit":  # without DeiT's second token it is another function
        return
    images = torch.rand(1, 3, 64, 64)
    if package == "timm":
        expected = other.forward_features(images)
    elif package == "torchreid":
        expected = other.featuremaps(images)
    else:
        expected = other.features(images)
    torch.testing.assert_close(network.eval()(images), expected, atol=1e-4, rtol=1e-3)


if __name__ == "__main__":
    table = {name: layout_of(theirs(name)) for name in MODELS}
    TABLE.write_bytes(gzip.compress(json.dumps(table, indent=0).encode(), mtime=0))
