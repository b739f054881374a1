"""Frozen encoders: the right weights or an error, and never a change."""

import pytest
import torch
from small_sda import encoder_settings
from tiny import REPOSITORY

from mmt_plugin.config import load_config
from mmt_plugin.modeling import build_network
from mmt_plugin.modeling.layers import SOURCE, TARGET, ChunkedBatchNorm, DomainBatchNorm, route
from mmt_plugin.sda.encoder import build_encoder
from mmt_plugin.weights.load_network import CheckpointError


@pytest.fixture
def encoder(sda_config):
    return build_encoder(sda_config())


@pytest.mark.parametrize("domain", [SOURCE, TARGET])
def test_a_plain_checkpoint_serves_either_domain(encoder, encoders, domain):
    encoder.load(encoders["source"], domain)
    network = build_network(encoder_settings())
    network.heads.set_num_classes(5)
    network.load_state_dict(torch.load(encoders["source"], weights_only=True)["model"])
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(encoder(images), network.eval()(images))


@pytest.mark.parametrize("domain", [SOURCE, TARGET])
def test_of_domain_specific_bn_the_asked_domain_is_taken(encoder, encoders, domain):
    encoder.load(encoders["target"], domain)
    network = build_network(encoder_settings(dsbn=True))
    network.heads.set_num_classes(6)
    weights = torch.load(encoders["target"], weights_only=True)["model"]
    network.load_state_dict({key.removeprefix("students.0."): value for key, value in weights.items()})
    images = torch.randn(2, 3, 64, 32)
    with route(domain):
        torch.testing.assert_close(encoder(images), network.eval()(images))
    with route(1 - domain):
        assert not torch.allclose(encoder(images), network(images), atol=1e-2)


def test_an_encoder_never_changes(encoder, encoders):
    encoder.load(encoders["source"], SOURCE)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    images = torch.randn(4, 3, 64, 32, requires_grad=True)
    encoder(images).square().sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_images_are_resized_to_the_size_the_encoder_knows(sda_config, encoders):
    encoder = build_encoder(sda_config(SDA__ENCODER_SIZE=[32, 16]))
    encoder.load(encoders["source"], SOURCE)
    images = torch.randn(2, 3, 64, 32)
    small = torch.nn.functional.interpolate(images, (32, 16), mode="bicubic", antialias=True)
    torch.testing.assert_close(encoder(images), encoder(small))


def damaged(path: str, tmp_path, change) -> str:
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint["model"])
    torch.save(checkpoint, tmp_path / "damaged.pth")
    return str(tmp_path / "damaged.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("heads.bottleneck.0.running_mean"), "1 missing"),
        (lambda weights: weights.update({"backbone.layer9.weight": torch.zeros(3)}), "1 not used"),
        (lambda weights: weights.update({"heads.bottleneck.0.bias": torch.zeros(3)}), "1 of another shape"),
        (dict.clear, "holds no network"),
    ],
)
def test_weights_that_do_not_fit_are_an_error(encoder, encoders, tmp_path, change, message):
    path = damaged(encoders["source"], tmp_path, change)
    with pytest.raises(CheckpointError, match=message) as error:
        encoder.load(path, SOURCE)
    assert path in str(error.value)


def test_a_missing_file_is_an_error(encoder):
    with pytest.raises(CheckpointError, match=r"'/nowhere\.pth' does not exist"):
        encoder.load("/nowhere.pth", SOURCE)


def test_an_encoder_of_a_published_recipe_has_ordinary_bn():
    cfg = load_config(REPOSITORY / "configs" / "sda" / "personx2visda20.yml")
    encoder = build_encoder(cfg)
    assert encoder.image_size == (384, 128)
    assert not any(isinstance(m, (ChunkedBatchNorm, DomainBatchNorm)) for m in encoder.modules())
