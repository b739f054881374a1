"""The classifier that follows the live classes."""

import pytest
import torch
import torch.nn.functional as F

from mmt_plugin.modeling.network import build_network


@pytest.fixture
def network(tiny_config):
    torch.manual_seed(0)
    network = build_network(tiny_config())
    network.heads.set_num_classes(7)
    return network


def test_outputs_by_mode(network):
    images = torch.randn(4, 3, 64, 32)
    out = network(images, torch.zeros(4, dtype=torch.long))
    assert out["logits"].shape == (4, 7)
    pooled = network.heads.pool_layer(network.backbone(images))[..., 0, 0]
    torch.testing.assert_close(out["features"], pooled)
    network.eval()
    feature = network(images)
    torch.testing.assert_close(
        feature, network.heads.bottleneck(network.heads.pool_layer(network.backbone(images)))[..., 0, 0]
    )


def test_triplet_feature_is_before_the_neck_and_logits_are_after(network):
    images = torch.randn(4, 3, 64, 32)
    network.eval()
    pooled, neck = network.heads.embed(network.backbone(images))
    network.heads.training = True
    out = network(images)
    torch.testing.assert_close(out["features"], pooled)
    torch.testing.assert_close(out["logits"], F.linear(neck, network.heads.weight))


def test_set_classifier_keeps_the_parameter_and_trains_it(network):
    weight = network.heads.weight
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    rows = F.normalize(torch.randn(3, weight.shape[1]), dim=1)
    network.heads.set_classifier(rows)
    assert network.heads.weight is weight
    torch.testing.assert_close(weight.data, rows)
    out = network(torch.randn(4, 3, 64, 32))
    assert out["logits"].shape == (4, 3)
    F.cross_entropy(out["logits"], torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    assert not torch.equal(weight.data, rows)


def test_rows_given_are_copied(network):
    rows = torch.ones(2, network.heads.weight.shape[1])
    network.heads.set_classifier(rows)
    rows.zero_()
    assert network.heads.weight.min() == 1


def test_dropout_sits_before_the_classifier_only(tiny_config):
    network = build_network(tiny_config(MODEL__HEADS__DROPOUT=0.5))
    network.heads.set_classifier(torch.eye(network.heads.weight.shape[1]))
    images = torch.randn(8, 3, 64, 32)
    logits = network(images)["logits"]
    dropped = (logits == 0).float().mean()
    assert 0.35 < dropped < 0.65
    torch.manual_seed(1)
    first = network(images)["features"]
    torch.testing.assert_close(first, network(images)["features"])


def test_other_backbones_keep_their_stems(tiny_config):
    outputs = []
    for relu in (True, False):
        torch.manual_seed(0)
        outputs.append(
            build_network(tiny_config(MODEL__BACKBONE__STEM_RELU=relu)).eval()(torch.ones(1, 3, 64, 32))
        )
    assert torch.equal(*outputs)


def test_stem_relu_off_changes_a_resnet(tiny_config):
    outputs = []
    for relu in (True, False):
        torch.manual_seed(0)
        cfg = tiny_config(
            MODEL__BACKBONE__NAME="build_resnet_backbone",
            MODEL__BACKBONE__DEPTH="18x",
            MODEL__BACKBONE__STEM_RELU=relu,
        )
        outputs.append(build_network(cfg).eval()(torch.ones(1, 3, 64, 32)))
    assert outputs[0].shape == (1, 512)
    assert not torch.allclose(*outputs)


@pytest.mark.parametrize(
    "classifier", ["Linear", "CosSoftmax", "ArcSoftmax", "ArcMarginSoftmax", "CircleSoftmax"]
)
def test_every_classifier_trains_and_penalises_its_class_only_where_labels_are_given(tiny_config, classifier):
    torch.manual_seed(0)
    network = build_network(
        tiny_config(MODEL__HEADS__CLS_LAYER=classifier, MODEL__HEADS__SCALE=4, MODEL__HEADS__MARGIN=0.25)
    )
    heads = network.heads
    heads.set_num_classes(5)
    neck = torch.randn(6, heads.weight.shape[1], requires_grad=True)
    targets = torch.tensor([0, 1, 2, 3, 4, 0])
    logits = heads._classify(neck, targets)
    F.cross_entropy(logits, targets).backward()
    assert torch.isfinite(neck.grad).all()
    assert torch.isfinite(heads.weight.grad).all()
    without = heads._classify(neck, None)
    own = F.one_hot(targets, 5).bool()
    if classifier == "Linear":
        torch.testing.assert_close(logits, without)
    else:
        assert (logits[own] < without[own]).all()
        assert (without.abs() <= 4 + 1e-5).all()
    if classifier in ("CosSoftmax", "ArcSoftmax", "ArcMarginSoftmax"):
        torch.testing.assert_close(logits[~own], without[~own], atol=1e-4, rtol=1e-4)


def test_fresh_rows_of_margin_classifiers_are_as_published(tiny_config):
    linear, margin = (
        build_network(tiny_config(MODEL__HEADS__CLS_LAYER=layer)).heads for layer in ("Linear", "CosSoftmax")
    )
    for heads in (linear, margin):
        heads.set_num_classes(300)
    assert linear.weight.std().item() == pytest.approx(0.001, rel=0.1)
    bound = (6 / (300 + margin.weight.shape[1])) ** 0.5  # Xavier's uniform distribution
    assert margin.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
