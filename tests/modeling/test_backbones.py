"""Every backbone of fastreid, and ours, is one override away: it builds, trains a step of MMT and of MMT+,
and gives features, which folding the layers of MMT+ back does not change.
"""

import copy

import pytest
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.meta_arch import build_model
from tiny import REPOSITORY, as_options

from mmt_plugin.config import load_config
from mmt_plugin.engine.optimizer import build_optimizer
from mmt_plugin.modeling import build_network
from mmt_plugin.modeling.backbones.people_vit import VARIANTS, Variant
from mmt_plugin.modeling.layers import SOURCE, TARGET, fold_batch_norm, route

SMALLEST_DEPTH = {
    "build_densenet_backbone": "121x",
    "build_effnet_backbone": "b0",
    "build_mobilenetv2_backbone": "0.1x",
    "build_mobilenetv3_backbone": "Small",
    "build_osnet_backbone": "x0_25",
    "build_people_vit_backbone": "tiny",
    "build_regnet_backbone": "200x",
    "build_repvgg_backbone": "A0",
    "build_resnest_backbone": "50x",
    "build_resnet_backbone": "18x",
    "build_resnext_backbone": "50x",
    "build_shufflenetv2_backbone": "0.5x",
    "build_solider_backbone": "swin_tiny_patch4_window7_224",  # see the test of its own
    "build_timm_backbone": "resnet18",
    "build_vit_backbone": "small",
}
# What a backbone needs beside its name and depth.
EXTRA = {
    "build_densenet_backbone": {"MODEL.BACKBONE.WITH_IBN": True},
    "build_people_vit_backbone": {"MODEL.BACKBONE.TOKENS": "class"},
    "build_resnext_backbone": {"MODEL.BACKBONE.WITH_IBN": True},
    "build_vit_backbone": {"MODEL.HEADS.POOL_LAYER": "Identity"},
}

SIZE = [64, 32]
TARGETS = torch.tensor([0, 0, 1, 1])
PLUS = {
    "MMT.NUM_PAIRS": 1,
    "MMT.JOINT.ENABLED": True,
    "MMT.DSBN.ENABLED": True,
    "MMT.IMAGES_PER_BN": 2,
    "MMT.MOCO.WEIGHT": 0.1,
    "MMT.MOCO.QUEUE_SIZE": 6,
    "MODEL.HEADS.CLS_LAYER": "ArcMarginSoftmax",
    "MODEL.HEADS.SCALE": 16,
    "MODEL.HEADS.MARGIN": 0.3,
}


@pytest.fixture(params=sorted(BACKBONE_REGISTRY._obj_map))
def cfg(request, monkeypatch):
    name = request.param
    if name == "build_solider_backbone":
        pytest.skip("timm's Swin is among the families of tests/modeling/backbones/test_timm.py")
    if name == "build_timm_backbone":
        pytest.importorskip("timm")
    monkeypatch.setitem(VARIANTS, "tiny", Variant(32, 2, "ics", parts=True))
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


def test_backbone_trains_a_step_of_mmt_plus_and_folds_back(cfg, tmp_path):
    """Domain-specific BN in chunks, MoCo, a margin classifier; saved, loaded, folded to a plain network."""
    plain_keys = build_network(cfg).state_dict().keys()
    cfg.merge_from_list(as_options(PLUS))
    torch.manual_seed(0)
    model = build_model(cfg)
    model.set_classifiers(None, 4)
    optimizer = build_optimizer(cfg, model.students)
    batch = {
        "images": 255 * torch.rand(8, 1, 3, *SIZE),
        "targets": torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]),
        "domains": torch.tensor([SOURCE] * 4 + [TARGET] * 4),
    }
    students = copies(model.students)
    losses = model(batch)
    assert losses.keys() == {"loss_ce", "loss_soft_ce", "loss_triplet", "loss_soft_triplet", "loss_moco"}
    sum(losses.values()).backward()
    unused = [name for name, p in model.students.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []
    optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert not any(torch.equal(new, old) for new, old in zip(copies(model.students), students, strict=True))
    model.update_teachers(alpha=0.5)

    torch.save(model.state_dict(), tmp_path / "model.pth")
    other = build_model(cfg)
    other.set_classifiers(None, 4)
    other.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    images = model.normalize(255 * torch.rand(3, 3, *SIZE))
    network = model.eval().teachers[0]
    loaded = other.eval().teachers[0]
    for domain in (SOURCE, TARGET):
        with route(domain):
            features = network(images)
            assert torch.equal(loaded(images), features)
        folded = fold_batch_norm(copy.deepcopy(loaded), domain)
        torch.testing.assert_close(folded(images), features, atol=1e-5, rtol=0)
    assert folded.state_dict().keys() == plain_keys
