"""The meta-architecture: who teaches whom, what is averaged, and what each switch turns off."""

import copy

import pytest
import torch
import torch.nn.functional as F
from batches import TARGETS, batch

from mmt_plugin.modeling import MutualMeanTeaching
from mmt_plugin.modeling.losses import (
    label_smooth_cross_entropy,
    soft_cross_entropy,
    soft_softmax_triplet_loss,
    softmax_triplet_loss,
)


def test_losses_are_the_published_objective(make_model):
    model = make_model()
    for teacher in model.teachers:  # teachers that differ from their students
        for parameter in teacher.parameters():
            parameter.data.add_(0.01 * torch.randn_like(parameter))
    inputs = batch()
    nets = copy.deepcopy(model)
    views = [nets.normalize(view) for view in inputs["images"].unbind(1)]
    s1, s2 = (net(v, TARGETS) for net, v in zip(nets.students, views, strict=True))
    t1, t2 = (net(v, TARGETS) for net, v in zip(nets.teachers, views, strict=True))
    expected = {
        "loss_ce": 0.5 * sum(label_smooth_cross_entropy(s["logits"], TARGETS, 0.1) for s in (s1, s2)),
        "loss_soft_ce": 0.5
        * (soft_cross_entropy(s1["logits"], t2["logits"]) + soft_cross_entropy(s2["logits"], t1["logits"])),
        "loss_triplet": 0.2 * sum(softmax_triplet_loss(s["features"], TARGETS) for s in (s1, s2)),
        "loss_soft_triplet": 0.8
        * (
            soft_softmax_triplet_loss(s1["features"], t2["features"], TARGETS)
            + soft_softmax_triplet_loss(s2["features"], t1["features"], TARGETS)
        ),
    }
    losses = model(inputs)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"MMT__SOFT_CE_WEIGHT": 0.0}, {"loss_ce", "loss_triplet", "loss_soft_triplet"}),
        ({"MMT__SOFT_TRI_WEIGHT": 0.0}, {"loss_ce", "loss_soft_ce", "loss_triplet"}),
        ({"MMT__SOFT_CE_WEIGHT": 1.0, "MMT__SOFT_TRI_WEIGHT": 1.0}, {"loss_soft_ce", "loss_soft_triplet"}),
        ({"MMT__SOFT_CE_WEIGHT": 1.0}, {"loss_soft_ce", "loss_triplet", "loss_soft_triplet"}),
    ],
)
def test_a_loss_of_weight_zero_is_not_computed(make_model, overrides, expected):
    assert make_model(**overrides)(batch()).keys() == expected


def test_views_are_normalised_once_for_student_and_teacher(make_model, monkeypatch):
    model = make_model()
    normalize, made, shown = MutualMeanTeaching.normalize, [], []
    monkeypatch.setattr(
        MutualMeanTeaching, "normalize", lambda self, x: made.append(normalize(self, x)) or made[-1]
    )
    for network in (*model.students, *model.teachers):
        network.register_forward_hook(lambda _, inputs, __: shown.append(inputs[0]))
    model(batch())
    assert len(made) == 2
    assert [image is view for image, view in zip(shown, made * 2, strict=True)] == [True] * 4


def test_gradients_reach_students_only(make_model):
    model = make_model()
    sum(model(batch()).values()).backward()
    assert all(p.grad is not None for s in model.students for p in s.parameters() if p.requires_grad)
    assert all(p.grad is None and not p.requires_grad for p in model.teachers.parameters())


def test_without_mean_teachers_the_peer_student_teaches(make_model):
    model = make_model(MMT__EMA__ENABLED=False)
    assert len(model.teachers) == 0
    losses = model(batch())
    nets = copy.deepcopy(model)
    views = [nets.normalize(view) for view in batch()["images"].unbind(1)]
    s1, s2 = (net(v, TARGETS) for net, v in zip(nets.students, views, strict=True))
    expected = 0.5 * (
        soft_cross_entropy(s1["logits"], s2["logits"]) + soft_cross_entropy(s2["logits"], s1["logits"])
    )
    torch.testing.assert_close(losses["loss_soft_ce"], expected)


def test_one_pair_learns_from_its_own_teacher(make_model):
    model = make_model(MMT__NUM_PAIRS=1)
    nets = copy.deepcopy(model)
    view = nets.normalize(batch(1)["images"][:, 0])
    student, teacher = nets.students[0](view, TARGETS), nets.teachers[0](view, TARGETS)
    expected = 0.5 * soft_cross_entropy(student["logits"], teacher["logits"])
    torch.testing.assert_close(model(batch(1))["loss_soft_ce"], expected)


def test_each_pair_sees_its_own_view(make_model):
    """With view 2 replaced, only the second student's hard loss may change."""
    seen = []
    for seed in (1, 2):
        model = make_model(MMT__SOFT_CE_WEIGHT=0.0, MMT__SOFT_TRI_WEIGHT=0.0)
        inputs = batch()
        inputs["images"][:, 1] = batch(seed=seed)["images"][:, 1]
        captured = []
        for student in model.students:
            student.register_forward_hook(
                lambda _, __, out, into=captured: into.append(out["logits"].detach())
            )
        model(inputs)
        seen.append(captured)
    torch.testing.assert_close(seen[0][0], seen[1][0])
    assert not torch.allclose(seen[0][1], seen[1][1])


def test_images_are_normalised_out_of_place(make_model):
    model, inputs = make_model(), batch()
    before = inputs["images"].clone()
    model(inputs)
    assert torch.equal(inputs["images"], before)


def test_ema_averages_parameters_and_leaves_buffers(make_model):
    model = make_model()
    student, teacher = model.students[0], model.teachers[0]
    for module in (student, teacher):
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.data.copy_(torch.randn_like(tensor))
    old = copy.deepcopy(teacher)
    model.update_teachers(0.75)
    for s, t, o in zip(student.parameters(), teacher.parameters(), old.parameters(), strict=True):
        torch.testing.assert_close(t, 0.75 * o + 0.25 * s)
    for t, o in zip(teacher.buffers(), old.buffers(), strict=True):
        assert torch.equal(t, o)


def test_ema_with_alpha_zero_copies(make_model):
    model = make_model()
    model.students[0].heads.weight.data.add_(1)
    model.update_teachers(0.0)
    assert torch.equal(model.teachers[0].heads.weight, model.students[0].heads.weight)


def test_teachers_learn_bn_statistics_from_their_own_forwards(make_model):
    model = make_model()
    bn = next(m for m in model.teachers[0].modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = bn.running_mean.clone()
    model(batch())
    assert not torch.equal(bn.running_mean, before)


def test_bn_images_move_bn_statistics_but_not_the_losses(make_model):
    losses, means = [], []
    for extra in (False, True):
        model = make_model()
        inputs = batch()
        if extra:
            inputs["bn_images"] = torch.zeros(5, 3, 64, 32)
        losses.append(model(inputs)["loss_ce"].detach())
        bn = next(m for m in model.students[0].modules() if isinstance(m, torch.nn.BatchNorm2d))
        means.append(bn.running_mean.clone())
    torch.testing.assert_close(losses[0], losses[1])
    assert not torch.allclose(means[0], means[1])


def test_all_networks_start_from_the_same_classifier(make_model):
    model = make_model()
    rows = F.normalize(torch.randn(5, model.students[0].heads.weight.shape[1]), dim=1)
    changed = model.set_classifiers(rows, 5)
    assert len(changed) == 2
    for network in (*model.students, *model.teachers):
        assert torch.equal(network.heads.weight.data, rows)
    assert model.num_classes == 5


def test_evaluation_answers_with_the_chosen_teacher(make_model):
    model = make_model().eval()
    images = batch()["images"][:, 0]
    features = model.extract(images)
    assert features.shape[:2] == (2, 6)
    for k in range(2):
        model.inference_index.fill_(k)
        torch.testing.assert_close(model({"images": images}), features[k])
    assert not torch.allclose(features[0], features[1])


def test_copy_students_to_teachers_includes_buffers_and_class_count(make_model):
    model = make_model()
    model.students[1].heads.set_num_classes(9)
    for buffer in model.students[1].buffers():
        if buffer.is_floating_point():
            buffer.add_(1)
    model.copy_students_to_teachers()
    teacher = model.teachers[1].state_dict()
    for name, value in model.students[1].state_dict().items():
        assert torch.equal(value, teacher[name]), name
