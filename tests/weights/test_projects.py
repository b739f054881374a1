"""Checkpoints of other projects fill our networks, whatever wraps and names them; none is half filled."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from mmt_plugin.modeling import build_network
from mmt_plugin.weights.load_network import CheckpointError, inference_weights, load_source_weights
from mmt_plugin.weights.stems import StemError

RESNET = {
    "MODEL__BACKBONE__NAME": "build_resnet_backbone",
    "MODEL__BACKBONE__DEPTH": "18x",
    "MODEL__BACKBONE__FEAT_DIM": 0,
}


def scattered(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same names and shapes with values that all differ."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in state.items()
    }


@pytest.fixture(scope="module")
def their_resnet() -> dict[str, torch.Tensor]:
    state = models.resnet18().state_dict()
    return scattered({name: value for name, value in state.items() if not name.startswith("fc.")})


def neck(prefix: str) -> dict[str, torch.Tensor]:
    return scattered({f"{prefix}{name}": value for name, value in nn.BatchNorm1d(512).state_dict().items()})


def children(state: dict, numbers: dict[str, int]) -> dict:
    """Names of a ResNet whose layers are children of a sequence."""
    parts = {name: name.partition(".") for name in state}
    return {f"{numbers[first]}.{rest}": state[name] for name, (first, _, rest) in parts.items()}


LAYERS = [f"layer{i}" for i in (1, 2, 3, 4)]
WITHOUT_RELU = {"conv1": 0, "bn1": 1} | {layer: 3 + i for i, layer in enumerate(LAYERS)}
WITH_RELU = {"conv1": 0, "bn1": 1} | {layer: 4 + i for i, layer in enumerate(LAYERS)}


def below(prefix: str, state: dict) -> dict:
    return {f"{prefix}{name}": value for name, value in state.items()}


# project: (where its backbone stands, how its layers are called, its neck, its classifier, what is around)
PROJECTS = {
    "fastreid": ("backbone.", None, "heads.bottleneck.0.", "heads.weight", ("model",)),
    "fastreid's model zoo": ("backbone.", None, "heads.bnneck.", "heads.classifier.weight", ("model",)),
    "MMT": ("module.base.", WITHOUT_RELU, "module.feat_bn.", "module.classifier.weight", ("state_dict",)),
    "SpCL": ("module.base.", WITH_RELU, "module.feat_bn.", "module.classifier.weight", ("state_dict",)),
    "OpenUnReID": ("backbone.", None, "head.feat_bn.", "classifier.weight", ("state_dict_1",)),
    "OpenUnReID's mean network": (
        *("module.mean_net.backbone.", None, "module.mean_net.head.feat_bn."),
        *("module.mean_net.classifier.weight", ("state_dict",)),
    ),
    "strong-baseline": ("base.", None, "bottleneck.", "classifier.weight", ()),
    "an own wrapper": ("net.encoder.", None, "net.bnneck.", "net.classifier.weight", ("ckpt", "state")),
}


def as_written_by(project: str, state: dict) -> dict:
    root, numbers, neck_prefix, classifier, wrappers = PROJECTS[project]
    layers = children(state, numbers) if numbers else state
    content = {**below(root, layers), **neck(neck_prefix), classifier: torch.rand(7, 512)}
    if "mean_net" in root:  # the student stands beside, with weights of its own
        content |= {k.replace("mean_net", "net"): torch.zeros_like(v) for k, v in content.items()}
    for wrapper in reversed(wrappers):
        content = {wrapper: content, "epoch": 3, "best_mAP": np.float64(0.71), "rank1": np.float32(0.8)}
    return content


@pytest.mark.parametrize("project", PROJECTS)
def test_a_network_of(project, tmp_path, tiny_config, their_resnet, caplog):
    path = tmp_path / "theirs.pth"
    torch.save(as_written_by(project, their_resnet), path)
    network = build_network(tiny_config(**RESNET))
    with caplog.at_level(logging.INFO, "fastreid.mmt"):
        load_source_weights(network, str(path))
    for name, value in their_resnet.items():
        assert torch.equal(network.backbone.state_dict()[name], value), name
    for name, value in neck("").items():
        assert torch.equal(network.heads.bottleneck[0].state_dict()[name], value), name
    count = len(network.backbone.state_dict())
    assert f"{count} of the backbone's {count} weights loaded" in caplog.text
    assert ("STEM_RELU False" in caplog.text) == (project == "MMT")
    assert inference_weights(str(path), network)["heads.weight"].shape == (7, 512)


def test_domain_specific_networks_start_from_foreign_ones(tmp_path, tiny_config, their_resnet):
    path = tmp_path / "theirs.pth"
    torch.save(as_written_by("SpCL", their_resnet), path)
    network = build_network(tiny_config(**RESNET, MMT__DSBN__ENABLED=True))
    load_source_weights(network, str(path))
    state = network.backbone.state_dict()
    for domain in ("source", "target"):
        assert torch.equal(
            state[f"layer4.1.bn2.{domain}.running_var"], their_resnet["layer4.1.bn2.running_var"]
        )


REFUSED = {
    "no neck": (lambda state: state, r"missing.*heads\.bottleneck"),
    "a layer more": (
        lambda state: {**state, **neck("bottleneck."), "layer4.2.conv1.weight": torch.rand(512, 512, 3, 3)},
        r"no place for, such as layer4\.2\.conv1\.weight",
    ),
    "a layer less": (
        lambda state: {k: v for k, v in state.items() if not k.startswith("layer3.1")} | neck("bottleneck."),
        r"lacks \d+ of .*layer3\.1",
    ),
    "an embedding": (
        lambda state: {**state, **neck("feat_bn."), "feat.weight": torch.rand(512, 512)},
        r"layer between pooling and neck \(state_dict\.feat\.weight\).*PRETRAIN_PATH",
    ),
    "another neck": (
        lambda state: {**state, **{k: v[:100] for k, v in neck("bottleneck.").items() if v.dim()}},
        r"of another shape \['heads\.bottleneck\.0\.weight \(100,\) for \(512,\)'",
    ),
    "nothing": (lambda state: {"epoch": 3}, "lacks"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_nothing_is_half_loaded(kind, tmp_path, tiny_config, their_resnet):
    spoil, message = REFUSED[kind]
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": spoil(their_resnet)}, path)
    network = build_network(tiny_config(**RESNET))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_source_weights(network, str(path))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@torch.no_grad()
def test_a_padded_stem_computes_what_torchvisions_does(tiny_config, tmp_path):
    theirs = models.resnet18().eval()
    images = torch.rand(2, 3, 64, 32)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    pretrained = {"MODEL__BACKBONE__PRETRAIN": True, "MODEL__BACKBONE__LAST_STRIDE": 2}
    pretrained["MODEL__BACKBONE__PRETRAIN_PATH"] = str(tmp_path / "resnet18.pth")
    for pool, same in (("padded", True), ("host", False)):
        network = build_network(tiny_config(**RESNET, **pretrained, MODEL__BACKBONE__STEM_POOL=pool)).eval()
        assert torch.equal(network.backbone(images), expected) == same


def test_a_runs_checkpoint_is_used_with_the_stem_it_was_trained_with(tiny_config, tmp_path):
    host, padded = (tiny_config(**RESNET, MODEL__BACKBONE__STEM_POOL=pool) for pool in ("host", "padded"))
    path = str(tmp_path / "model_final.pth")
    torch.save({"model": below("students.0.", build_network(host).state_dict())}, path)
    load_source_weights(build_network(padded), path)  # nothing tells
    recorded = host.dump()
    (tmp_path / "config.yaml").write_text(recorded)
    load_source_weights(build_network(host), path)
    with pytest.raises(StemError, match=r"MODEL\.BACKBONE\.STEM_POOL host"):
        load_source_weights(build_network(padded), path)
    old = "".join(line for line in recorded.splitlines(keepends=True) if "STEM_POOL" not in line)
    (tmp_path / "config.yaml").write_text(old)  # of a run before there was the key
    load_source_weights(build_network(host), path)
    with pytest.raises(StemError, match="STEM_POOL host"):
        load_source_weights(build_network(padded), path)
