"""Every backbone of fastreid is one override away: it builds, trains a mutual step and gives features."""

import pytest
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.meta_arch import build_model
from tiny import REPOSITORY, as_options

from mmt_plugin.config import load_config
from mmt_plugin.engine.optimizer import build_optimizer

SMALLEST_DEPTH = {
    "build_effnet_backbone": "b0",
    "build_mobilenetv2_backbone": "0.1x",
    "build_mobilenetv3_backbone": "Small",
    "build_osnet_backbone": "x0_25",
    "build_regnet_backbone": "200x",
    "build_repvgg_backbone": "A0",
    "build_resnest_backbone": "50x",
    "build_resnet_backbone": "18x",
    "build_resnext_backbone": "50x",
    "build_shufflenetv2_backbone": "0.5x",
    "build_vit_backbone": "small",
}
# What a backbone needs beside its name and depth.
EXTRA = {"build_vit_backbone": {"MODEL.HEADS.POOL_LAYER": "Identity"}}

SIZE = [64, 32]
TARGETS = torch.tensor([0, 0, 1, 1])


@pytest.fixture(params=sorted(BACKBONE_REGISTRY._obj_map))
def cfg(request):
    name = request.param
    if name not in SMALLEST_DEPTH:
        pytest.fail(f"fastreid has a backbone that is never tried: give {name} a depth in SMALLEST_DEPTH")
    settings = {
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.NAME": name,
        "MODEL.BACKBONE.DEPTH": SMALLEST_DEPTH[name],
        "MODEL.BACKBONE.PRETRAIN": False,
        "INPUT.SIZE_TRAIN": SIZE,
        "INPUT.SIZE_TEST": SIZE,
        **EXTRA.get(name, {}),
    }
    return load_config(REPOSITORY / "configs" / "Base-mmt.yml", as_options(settings))


def ends(network) -> list[torch.Tensor]:
    """The first layer of the backbone and the classifier."""
    return [next(network.parameters()), network.heads.weight]


def copies(networks) -> list[torch.Tensor]:
    return [layer.detach().clone() for network in networks for layer in ends(network)]


def test_backbone_trains_a_mutual_step(cfg):
    torch.manual_seed(0)
    model = build_model(cfg)
    model.set_classifiers(None, 2)
    model.copy_students_to_teachers()
    optimizer = build_optimizer(cfg, model.students)
    students, teachers = copies(model.students), copies(model.teachers)

    losses = model({"images": 255 * torch.rand(4, 2, 3, *SIZE), "targets": TARGETS})
    assert losses.keys() == {"loss_ce", "loss_soft_ce", "loss_triplet", "loss_soft_triplet"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    # DistributedDataParallel waits for the gradient of every one.
    unused = [name for name, p in model.students.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []
    optimizer.step()
    stepped = copies(model.students)
    assert not any(torch.equal(new, old) for new, old in zip(stepped, students, strict=True))
    assert all(torch.equal(new, old) for new, old in zip(copies(model.teachers), teachers, strict=True))

    model.update_teachers(alpha=0.5)
    averaged = copies(model.teachers)
    for new, old, student in zip(averaged, teachers, stepped, strict=True):
        torch.testing.assert_close(new, (old + student) / 2)
        assert not torch.equal(new, old)

    features = model.eval()({"images": 255 * torch.rand(3, 3, *SIZE)})
    assert features.shape == (3, model.students[0].heads.weight.shape[1])
    assert torch.isfinite(features).all()
