"""DenseNet-IBN: the published layout of layers and checkpoints."""

import pytest
import torch
from fastreid.modeling.backbones import build_backbone
from tiny import REPOSITORY, as_options
from torch import nn
from torchvision.models import densenet121

from mmt_plugin.config import load_config
from mmt_plugin.modeling.backbones.densenet import InstanceBatchNorm


@pytest.fixture
def make():
    def build(**overrides):
        settings = {"NAME": "build_densenet_backbone", "DEPTH": "121x", "PRETRAIN": False, **overrides}
        options = as_options({f"MODEL.BACKBONE.{key}": value for key, value in settings.items()})
        return build_backbone(load_config(REPOSITORY / "configs" / "Base-mmt.yml", options))

    return build


def test_densenet_169_ibn_a(make):
    network = make(DEPTH="169x", WITH_IBN=True, LAST_STRIDE=2).eval()
    with torch.no_grad():
        features = network(torch.rand(1, 3, 64, 32))
    assert features.shape == (1, 1664, 2, 1)  # stride 32
    assert (features >= 0).all()
    ibn = [name for name, module in network.named_modules() if isinstance(module, InstanceBatchNorm)]
    expected = [
        f"features.denseblock{block}.denselayer{layer}.norm1"
        for block, layers in ((1, 6), (2, 12), (3, 32))
        for layer in range(1, layers + 1, 3)
    ]
    assert ibn == expected
    norm = network.features.denseblock2.denselayer4.norm1
    assert (norm.BN.num_features, norm.IN.num_features) == (134, 90)  # 60 and 40 % of 128 + 3 * 32


def test_instance_batch_norm_normalises_its_channels_apart():
    norm = InstanceBatchNorm(10)
    x = torch.randn(3, 10, 4, 2)
    output = norm(x)
    torch.testing.assert_close(output[:, :6], nn.BatchNorm2d(6)(x[:, :6]))
    torch.testing.assert_close(output[:, 6:], nn.InstanceNorm2d(4)(x[:, 6:]))


def test_last_stride_1_keeps_the_resolution(make):
    assert make(LAST_STRIDE=1).eval()(torch.rand(1, 3, 64, 32)).shape == (1, 1024, 4, 2)


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {f"module.{k}": v for k, v in w.items()}])
def test_loads_the_ibn_net_checkpoint_layout(make, tmp_path, wrap):
    """Keys of XingangPan/IBN-Net: torchvision's, with norm1.BN and norm1.IN, and a classifier."""
    weights = make(WITH_IBN=True).state_dict()
    assert "features.denseblock1.denselayer1.norm1.BN.running_mean" in weights
    assert "features.denseblock1.denselayer1.norm1.IN.weight" in weights
    assert "features.denseblock1.denselayer2.norm1.weight" in weights
    saved = {key: torch.full_like(value, 2) for key, value in weights.items()}
    saved.update({"classifier.weight": torch.zeros(1000, 1024), "classifier.bias": torch.zeros(1000)})
    torch.save(wrap(saved), tmp_path / "ibn.pth")
    loaded = make(WITH_IBN=True, PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "ibn.pth"))
    assert all((value == 2).all() for value in loaded.state_dict().values())
    with pytest.raises(ValueError, match=r"ibn\.pth .*lacks \d+ of the .*WITH_IBN"):
        make(WITH_IBN=False, PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "ibn.pth"))


def test_without_ibn_it_is_torchvisions(make):
    torch.manual_seed(0)
    ours = make(LAST_STRIDE=2).eval()
    theirs = densenet121().eval()
    ours.features.load_state_dict(theirs.features.state_dict())
    x = torch.rand(1, 3, 64, 32)
    assert torch.equal(ours(x), theirs.features(x).relu())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"DEPTH": "50x"}, r"MODEL\.BACKBONE\.DEPTH is '50x'"),
        ({"NORM": "GN"}, r"MODEL\.BACKBONE\.NORM is 'GN'"),
    ],
)
def test_what_it_cannot_be_is_refused(make, overrides, message):
    with pytest.raises(ValueError, match=message):
        make(**overrides)


def test_synchronised_layers(make):
    assert isinstance(make(NORM="syncBN").features.norm0, nn.SyncBatchNorm)
