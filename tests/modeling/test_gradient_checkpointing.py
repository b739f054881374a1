"""Checkpointed blocks: the same losses, gradients and statistics from fewer kept activations."""

import copy

import pytest
import torch
from batches import batch
from torch import nn

from mmt_plugin.modeling.gradient_checkpointing import CheckpointedBlock, checkpoint_blocks
from mmt_plugin.modeling.layers import SOURCE, TARGET

RESNET = {"MODEL__BACKBONE__NAME": "build_resnet_backbone", "MODEL__BACKBONE__DEPTH": "18x"}
DOMAINS = torch.tensor([SOURCE, SOURCE, SOURCE, SOURCE, TARGET, TARGET])


def kept_bytes(model, inputs) -> tuple[dict, int]:
    """Losses, and what autograd keeps for their backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = model(inputs)
    return losses, sum(kept.values())


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        RESNET,
        {**RESNET, "MODEL__BACKBONE__WITH_IBN": True, "MODEL__BACKBONE__STEM_RELU": False},
        {**RESNET, "MODEL__BACKBONE__DEPTH": "50x", "MODEL__BACKBONE__WITH_SE": True},
        {"MODEL__BACKBONE__NAME": "build_mobilenetv2_backbone", "MODEL__BACKBONE__DEPTH": "0.1x"},
        {**RESNET, "MMT__IMAGES_PER_BN": 2},
        {**RESNET, "recipe": "plaza2metro_mmt_plus", "MMT__IMAGES_PER_BN": 2},
    ],
    ids=["osnet", "resnet", "ibn, no stem relu", "50x se", "mobilenet", "chunked", "dsbn, chunked"],
)
def test_numbers_stay_the_same(make_model, tiny_config, overrides):
    overrides = dict(overrides)
    config_name = overrides.pop("recipe", "plaza2metro_mmt")
    inputs = {**batch(), "domains": DOMAINS} if config_name.endswith("plus") else batch()
    plain = make_model(name=config_name, **overrides)
    checkpointed = make_model(name=config_name, MODEL__BACKBONE__GRADIENT_CHECKPOINTING=True, **overrides)
    checkpointed.load_state_dict(plain.state_dict())  # names are the same
    expected, all_bytes = kept_bytes(plain, inputs)
    losses, bytes_kept = kept_bytes(checkpointed, inputs)
    assert losses.keys() == expected.keys()
    for name in losses:
        assert torch.equal(losses[name], expected[name]), name
    for model, terms in ((plain, expected), (checkpointed, losses)):
        sum(terms.values()).backward()
        assert model.students[0].backbone.training
    for (name, ours), theirs in zip(checkpointed.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is None if theirs.grad is None else torch.equal(ours.grad, theirs.grad), name
    for (name, ours), theirs in zip(checkpointed.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    # Tensors of a checkpointed block are packed by the checkpoint itself: what is left are heads and stems.
    assert bytes_kept < 0.75 * all_bytes


def test_teachers_have_blocks_of_their_own(make_model):
    model = make_model(MODEL__BACKBONE__GRADIENT_CHECKPOINTING=True)
    student, teacher = (
        [m for m in net.modules() if isinstance(m, CheckpointedBlock)]
        for net in (model.students[0], model.teachers[0])
    )
    assert len(student) == len(teacher) > 3
    assert not {id(p) for m in student for p in m.parameters()} & {
        id(p) for m in teacher for p in m.parameters()
    }
    x = torch.rand(4, 16, 16, 8)
    first = copy.deepcopy(student[0])
    with torch.no_grad():
        for parameter in teacher[0].parameters():
            parameter.mul_(2)
        assert torch.equal(student[0](x), first(x))
        assert not torch.equal(teacher[0](x), first(x))


def test_dropout_is_the_same_in_both_passes():
    torch.manual_seed(0)
    backbone = nn.Module()
    backbone.stage = nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8)))
    plain = copy.deepcopy(backbone)
    checkpoint_blocks(backbone)
    x = torch.rand(5, 8)
    for network in (plain, backbone):
        torch.manual_seed(1)
        network.stage(x).square().sum().backward()
    for ours, theirs in zip(backbone.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_a_backbone_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"GRADIENT_CHECKPOINTING is True, but Conv2d has no lists"):
        checkpoint_blocks(nn.Conv2d(3, 3, 1))
