"""The optimiser over all students."""

import pytest
import torch
from fastreid.modeling.meta_arch import build_model
from fastreid.solver.build import get_default_optimizer_params

from mmt_plugin.config.checks import OPTIMIZERS
from mmt_plugin.engine.layer_decay import LayerDecayError
from mmt_plugin.engine.optimizer import FUSED, build_optimizer, forget_moments, load_moments
from mmt_plugin.modeling.backbones.people_vit import VARIANTS, Variant


def settings(optimizer) -> dict[int, tuple]:
    """Learning rate and weight decay by parameter."""
    return {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_every_student_gets_the_host_s_hyper_parameters(tiny_config):
    cfg = tiny_config(SOLVER__HEADS_LR_FACTOR=10.0, SOLVER__BIAS_LR_FACTOR=2.0, SOLVER__WEIGHT_DECAY_NORM=0.0)
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model.students)
    ours = settings(optimizer)
    solver = cfg.SOLVER
    count = 0
    for student in model.students:
        for entry in get_default_optimizer_params(
            student, solver.BASE_LR, solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.BIAS_LR_FACTOR,
            solver.HEADS_LR_FACTOR, solver.WEIGHT_DECAY_BIAS,
        ):  # fmt: skip
            for parameter in entry["params"]:
                assert ours[id(parameter)] == (entry["lr"], entry["weight_decay"])
                count += 1
    assert count == len(ours) == sum(p.requires_grad for s in model.students for p in s.parameters())
    assert ours[id(model.students[1].heads.weight)][0] == pytest.approx(10 * solver.BASE_LR)
    assert len(optimizer.param_groups) <= 6


@pytest.mark.parametrize("builder", ["build_people_vit_backbone", "build_timm_backbone"])
def test_rates_fall_from_block_to_block(tiny_config, monkeypatch, builder):
    if builder == "build_timm_backbone":
        pytest.importorskip("timm")
    monkeypatch.setitem(VARIANTS, "test_vit", Variant(16, 2))
    cfg = tiny_config(
        MODEL__BACKBONE__NAME=builder,
        MODEL__BACKBONE__DEPTH="test_vit",
        SOLVER__LAYER_DECAY=0.5,
        SOLVER__HEADS_LR_FACTOR=3.0,
        MMT__NUM_PAIRS=1,
    )
    student = build_model(cfg).students[0]
    rates = {
        key: rate / cfg.SOLVER.BASE_LR for key, (rate, _) in settings(build_optimizer(cfg, [student])).items()
    }
    body = student.backbone if builder == "build_people_vit_backbone" else student.backbone.model
    depth = len(body.blocks)
    expected = {body.norm.weight: 0.5, body.cls_token: 0.5 ** (depth + 1), body.pos_embed: 0.5 ** (depth + 1)}
    expected |= {block.mlp.fc1.weight: 0.5 ** (depth - i) for i, block in enumerate(body.blocks)}
    expected |= {body.patch_embed.proj.bias: 0.5 ** (depth + 1), student.heads.weight: 3}
    for parameter, scale in expected.items():
        assert rates[id(parameter)] == pytest.approx(scale)


def test_layers_that_cannot_be_counted_are_refused(tiny_config):
    cfg = tiny_config(SOLVER__LAYER_DECAY=0.8, MMT__NUM_PAIRS=1)
    with pytest.raises(LayerDecayError, match=r"SOLVER\.LAYER_DECAY needs a backbone of blocks"):
        build_optimizer(cfg, build_model(cfg).students)


def test_one_group_where_hyper_parameters_agree(tiny_config):
    cfg = tiny_config()
    assert len(build_optimizer(cfg, build_model(cfg).students).param_groups) == 1


def test_sgd_takes_momentum(tiny_config):
    cfg = tiny_config(SOLVER__OPT="SGD", SOLVER__MOMENTUM=0.7)
    assert build_optimizer(cfg, build_model(cfg).students).param_groups[0]["momentum"] == 0.7


def test_a_step_moves_all_students_and_no_teacher(tiny_config):
    cfg = tiny_config(MODEL__BACKBONE__NAME="build_resnet_backbone", MODEL__BACKBONE__DEPTH="18x")
    model = build_model(cfg)
    model.set_classifiers(None, 4)
    optimizer = build_optimizer(cfg, model.students)
    before = {name: value.clone() for name, value in model.named_parameters()}
    images = 255 * torch.rand(8, 2, 3, 64, 32)
    sum(model({"images": images, "targets": torch.arange(4).repeat_interleave(2)}).values()).backward()
    optimizer.step()
    for name, value in model.named_parameters():
        moved = not torch.equal(value, before[name])
        assert moved == (name.startswith("students") and value.requires_grad), name


def test_forget_moments(tiny_config):
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.Adam(weights)
    sum(w.sum() for w in weights).backward()
    optimizer.step()
    forget_moments(optimizer, weights[:1])
    assert set(optimizer.state) == {weights[1]}
    forget_moments(optimizer)
    assert not optimizer.state


def test_state_is_of_live_classes_only(tiny_config):
    """Rows and moments of 50 clusters leave nothing behind when 5 follow them, and the other way round."""
    cfg = tiny_config()
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model.students)
    size = model.students[0].heads.weight.shape[1]
    for classes in (50, 5, 20):
        forget_moments(optimizer, model.set_classifiers(torch.rand(classes, size), classes))
        images = 255 * torch.rand(8, 2, 3, 64, 32)
        optimizer.zero_grad()
        sum(model({"images": images, "targets": torch.arange(4).repeat_interleave(2)}).values()).backward()
        optimizer.step()
        for student in model.students:
            state = optimizer.state[student.heads.weight]
            assert state["exp_avg"].shape == state["exp_avg_sq"].shape == (classes, size)
        assert all(network.heads.weight.shape == (classes, size) for network in model.teachers)
        kept = sum(state["exp_avg"].numel() for state in optimizer.state.values())
        assert kept == sum(p.numel() for p in model.students.parameters() if p.requires_grad)


def trained(name: str, sizes=((5, 3), (4, 2))) -> tuple[torch.optim.Optimizer, list[torch.nn.Parameter]]:
    """One of torch's optimisers after two steps."""
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(size)) for size in sizes]
    extra = {"momentum": 0.9} if name == "SGD" else {}
    fused = {"fused": True} if name in FUSED else {}
    optimizer = getattr(torch.optim, name)(weights, lr=0.01, **extra, **fused)
    for _ in range(2):
        step(optimizer, weights)
    return optimizer, weights


def step(optimizer, weights) -> None:
    optimizer.zero_grad()
    sum(weight.square().sum() for weight in weights).backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_forgets_one_parameter_or_all_and_goes_on(name):
    """A parameter that is forgotten moves like one never seen; others keep their moments."""
    for forgotten in (slice(0, 1), slice(0, 2)):
        optimizer, weights = trained(name)
        for weight in weights[forgotten]:
            weight.data = torch.randn(6, weight.shape[1])
        fresh = [torch.nn.Parameter(weight.data.clone()) for weight in weights]
        other = type(optimizer)([{**optimizer.param_groups[0], "params": fresh}])
        state = {key: value.clone() for key, value in optimizer.state[weights[1]].items()}
        forget_moments(optimizer, None if forgotten.stop == 2 else weights[:1])
        if forgotten.stop == 1:
            assert all(torch.equal(value, optimizer.state[weights[1]][key]) for key, value in state.items())
        step(optimizer, weights)
        step(other, fresh)
        for weight, expected in zip(weights[forgotten], fresh[forgotten], strict=True):
            torch.testing.assert_close(weight.data, expected.data)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_that_stay_keep_their_state_beside_new_ones(name):
    optimizer, weights = trained(name)
    before = {key: value.clone() for key, value in optimizer.state[weights[0]].items()}
    weights[0].data = torch.cat([weights[0].data[:2], torch.randn(7, 3)])
    forget_moments(optimizer, weights[:1], keep=2)
    after = optimizer.state[weights[0]]
    of_rows = [key for key, value in before.items() if value.dim() == 2 and len(value) == 5]
    assert of_rows
    assert after.keys() == before.keys()
    for key, value in before.items():
        if key in of_rows:
            assert torch.equal(after[key][:2], value[:2]), key
            assert torch.equal(
                after[key][2:], torch.full_like(after[key][2:], 0.01 * (key == "step_size"))
            ), key
        else:
            assert torch.equal(after[key], value), key
    step(optimizer, weights)
    assert all(torch.isfinite(weight).all() for weight in weights)


def test_settings_are_those_of_the_config_moments_those_of_the_checkpoint():
    optimizer, weights = trained("Adam")
    other = torch.optim.Adam(weights, lr=0.5, weight_decay=0.1)
    load_moments(other, optimizer.state_dict())
    assert (other.param_groups[0]["lr"], other.param_groups[0]["weight_decay"]) == (0.5, 0.1)
    assert torch.equal(other.state[weights[0]]["exp_avg"], optimizer.state[weights[0]]["exp_avg"])
