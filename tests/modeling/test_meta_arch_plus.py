"""The meta-architecture's switches for MMT+: domains, queues, margins, BN statistics."""

import copy

import pytest
import torch
import torch.nn.functional as F
from batches import TARGETS, batch

from mmt_plugin.modeling.layers import SOURCE, TARGET, ChunkedBatchNorm
from mmt_plugin.modeling.losses import moco_loss, soft_cross_entropy


def joint_batch(source: int = 2, views: int = 2) -> dict:
    """Images of two classes of either domain, the source's first."""
    inputs = batch(views)
    inputs["domains"] = torch.tensor([SOURCE] * source + [TARGET] * (6 - source))
    return inputs


def perturb(networks) -> None:
    generator = torch.Generator().manual_seed(5)
    for network in networks:
        for parameter in network.parameters():
            parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(("domains", "first"), [("target", 2), ("both", 0)])
def test_moco_compares_each_student_with_its_own_teacher_on_the_same_view(make_model, domains, first):
    model = make_model(
        MMT__MOCO__WEIGHT=0.3, MMT__MOCO__QUEUE_SIZE=7, MMT__MOCO__DOMAINS=domains, MMT__MOCO__TEMPERATURE=0.5
    )
    perturb(model.teachers)
    inputs = joint_batch()
    nets = copy.deepcopy(model)
    expected = 0
    for k, view in enumerate(inputs["images"].unbind(1)):
        images = nets.normalize(view)
        query = nets.students[k](images, TARGETS)["embeddings"][first:]
        key = nets.teachers[k](images, TARGETS)["embeddings"][first:]
        expected = expected + moco_loss(query, key, nets.queues[k].queue, 0.5)
    losses = model(inputs)
    torch.testing.assert_close(losses["loss_moco"], 0.3 * expected)
    assert [int(queue.pointer) for queue in model.queues] == [6 - first] * 2
    assert not torch.equal(model.queues[0].queue, model.queues[1].queue)
    losses["loss_moco"].backward()
    assert model.students[0].heads.bottleneck[0].weight.grad.abs().sum() > 0


def test_without_moco_there_are_no_queues(make_model):
    model = make_model()
    assert len(model.queues) == 0
    assert "loss_moco" not in model(batch())


def test_domain_specific_layers_see_their_images_only(make_model):
    model = make_model(MMT__JOINT__ENABLED=True, MMT__DSBN__ENABLED=True)
    seen = {}
    neck = model.students[0].heads.bottleneck[0]
    for name in ("source", "target"):
        before = getattr(neck, name).running_mean.clone()
        seen[name] = before
    inputs = joint_batch(source=4)
    model(inputs)
    changed = copy.deepcopy(inputs)
    changed["images"][4:] = 0  # the target's images
    other = make_model(MMT__JOINT__ENABLED=True, MMT__DSBN__ENABLED=True)
    other(changed)
    other_neck = other.students[0].heads.bottleneck[0]
    assert not torch.equal(neck.source.running_mean, seen["source"])
    torch.testing.assert_close(neck.source.running_mean, other_neck.source.running_mean)
    assert not torch.allclose(neck.target.running_mean, other_neck.target.running_mean)


@pytest.mark.parametrize("margin", [True, False])
def test_teachers_apply_the_margin_by_key(make_model, margin):
    model = make_model(
        MODEL__HEADS__CLS_LAYER="CosSoftmax",
        MODEL__HEADS__SCALE=8,
        MODEL__HEADS__MARGIN=0.4,
        MMT__TEACHER_MARGIN=margin,
    )
    nets = copy.deepcopy(model)
    views = [nets.normalize(view) for view in batch()["images"].unbind(1)]
    students = [net(view, TARGETS)["logits"] for net, view in zip(nets.students, views, strict=True)]
    teachers = []
    for teacher, view in zip(nets.teachers, views, strict=True):
        output = teacher(view, None)
        cosine = F.linear(F.normalize(output["embeddings"]), F.normalize(teacher.heads.weight))
        teachers.append(8 * (cosine - 0.4 * margin * F.one_hot(TARGETS, 3)))
    expected = 0.5 * (
        soft_cross_entropy(students[0], teachers[1]) + soft_cross_entropy(students[1], teachers[0])
    )
    torch.testing.assert_close(model(batch())["loss_soft_ce"], expected)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_triplet_weight_scales_both_triplet_losses(make_model, weight):
    names = ("loss_triplet", "loss_soft_triplet")
    full, scaled = (make_model(MMT__TRIPLET_WEIGHT=value)(batch()) for value in (1.0, weight))
    for name in names:
        assert (name in scaled) == (weight > 0)
        if weight:
            torch.testing.assert_close(scaled[name], weight * full[name])
    torch.testing.assert_close(scaled["loss_ce"], full["loss_ce"])


def test_bn_statistics_of_teachers_can_be_the_students_average(make_model):
    model = make_model(MMT__EMA__BN_STATISTICS="student")
    norms = [
        next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
        for network in (model.students[0], model.teachers[0])
    ]
    student, teacher = norms
    before = teacher.running_mean.clone()
    model(batch())
    assert torch.equal(teacher.running_mean, before)  # not from its own forward
    assert not torch.equal(student.running_mean, before)
    model.update_teachers(0.75)
    torch.testing.assert_close(teacher.running_mean, 0.75 * before + 0.25 * student.running_mean)


def test_target_rows_are_replaced_and_each_networks_source_rows_kept(make_model):
    model = make_model(num_classes=5)
    perturb(model.teachers)
    networks = [*model.students, *model.teachers]
    before = [network.heads.weight.data[:2].clone() for network in networks]
    rows = torch.randn(4, before[0].shape[1])
    model.set_classifiers(rows, 4, keep=2)
    for network, kept in zip(networks, before, strict=True):
        assert torch.equal(network.heads.weight.data, torch.cat([kept, rows]))
        assert network.heads.num_classes == 6


def test_synchronised_layers_are_converted(make_model):
    model = make_model(MODEL__BACKBONE__NORM="syncBN")
    norm = next(m for m in model.students[0].backbone.modules() if isinstance(m, ChunkedBatchNorm))
    assert norm.synchronised
    assert torch.isfinite(sum(model(batch()).values()))


def test_mixed_precision_step_is_finite(make_model):
    model = make_model(
        num_classes=4,
        MMT__JOINT__ENABLED=True,
        MMT__DSBN__ENABLED=True,
        MMT__IMAGES_PER_BN=2,
        MMT__MOCO__WEIGHT=0.1,
        MMT__MOCO__QUEUE_SIZE=7,
        MODEL__HEADS__CLS_LAYER="ArcMarginSoftmax",
        MODEL__HEADS__SCALE=16,
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(joint_batch())
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.students.parameters() if p.grad is not None)
    assert model.queues[0].queue.dtype == torch.float32
