"""PRETRAIN_PATH takes the layouts of torchvision, timm, torchreid, DINO, MoCo and TransReID."""

import re
from functools import partial

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones.vision_transformer import VisionTransformer
from torch import nn
from torchvision import models

from mmt_plugin.weights.backbones import PretrainedError, fill_backbone
from mmt_plugin.weights.foreign_names import LAYOUTS, rename
from mmt_plugin.weights.positions import guess_grid, resize_positions


def configured(name: str, depth: str, path: object = "", **settings):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    backbone = cfg.MODEL.BACKBONE
    backbone.NAME, backbone.DEPTH = f"build_{name}_backbone", depth
    backbone.PRETRAIN, backbone.PRETRAIN_PATH = bool(path), str(path)
    for key, value in settings.items():
        backbone[key] = value
    return cfg


def build(*args, **settings):
    return build_backbone(configured(*args, **settings)).eval()


def same_weights(ours: nn.Module, theirs: dict, renamed: dict[str, str]) -> None:
    state = ours.state_dict()
    for our_name, their_name in renamed.items():
        assert torch.equal(state[our_name], theirs[their_name]), our_name


NORM = partial(nn.LayerNorm, eps=1e-6)


def small_vit(size: tuple[int, int]) -> VisionTransformer:
    """The host's, two blocks deep."""
    shape = {
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 2,
        "qkv_bias": True,
    }
    return VisionTransformer(size, norm_layer=NORM, **shape).eval()


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    theirs = models.VisionTransformer(64, 16, 2, 2, 24, 48, norm_layer=NORM).eval()
    nn.init.normal_(theirs.encoder.pos_embedding)
    return theirs


def in_timms_names(theirs: nn.Module) -> dict[str, torch.Tensor]:
    """torchvision's ViT under the names that timm, DINO, DeiT and TransReID share."""
    renames = LAYOUTS["build_vit_backbone"]["torchvision"]
    state = theirs.state_dict()
    return {rename(name, renames): value for name, value in state.items() if "heads." not in name}


@torch.no_grad()
def test_torchvisions_vit_computes_the_same(vit):
    ours = small_vit((64, 64))
    fill_backbone(ours, vit.state_dict(), "vit.pth", "build_vit_backbone")
    images = torch.rand(2, 3, 64, 64)
    batch = torch.cat([vit.class_token.expand(2, -1, -1), vit._process_input(images)], dim=1)
    torch.testing.assert_close(ours(images)[:, :, 0, 0], vit.encoder(batch)[:, 0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("written_by", ["timm", "DeiT", "DINO", "TransReID", "TransReID with JPM"])
def test_a_vit_of(written_by, vit):
    state = in_timms_names(vit)
    names = {name: name for name in state if name != "pos_embed"}
    content = {**state, "head.weight": torch.rand(5, 24)}
    if written_by == "DeiT":
        token, rest = state["pos_embed"].split((1, 16), dim=1)
        positions = torch.cat([token, torch.rand(1, 1, 24), rest], dim=1)
        content = {"model": {**content, "pos_embed": positions, "dist_token": torch.rand(1, 1, 24)}}
    elif written_by == "DINO":
        student = {f"module.backbone.{name}": torch.zeros_like(value) for name, value in state.items()}
        teacher = {f"backbone.{name}": value for name, value in state.items()}
        content = {"student": student, "teacher": teacher, "epoch": 3}
    elif written_by.startswith("TransReID"):
        content = {
            **{f"base.{name}": value for name, value in state.items()},
            "bottleneck.weight": torch.ones(24),
        }
        if "JPM" in written_by:  # its global branch is a trained copy of the last block and norm
            trained = {
                name: torch.rand_like(state[name]) for name in state if re.match(r"blocks\.1|norm", name)
            }
            state = {**state, **trained}
            for branch in ("b1", "b2"):
                copies = {
                    re.sub(r"^blocks\.1", f"{branch}.0", name): value for name, value in trained.items()
                }
                content |= {re.sub("^norm", f"{branch}.1", name): value for name, value in copies.items()}
    ours = small_vit((96, 32))
    fill_backbone(ours, content, "vit.pth", "build_vit_backbone")
    same_weights(ours, state, names)
    torch.testing.assert_close(ours.pos_embed, resize_positions(vit.encoder.pos_embedding, (6, 2)))
    assert torch.equal(ours.pos_embed[:, 0], vit.encoder.pos_embedding[:, 0])


def test_positions_are_resized_by_their_grid():
    ramp = torch.arange(4.0).view(1, 2, 2, 1).flatten(1, 2)
    token = torch.full((1, 1, 1), 9.0)
    wide = resize_positions(torch.cat([token, ramp], 1), (2, 4))
    assert wide.flatten().tolist() == [9, 0, 0.25, 0.75, 1, 2, 2.25, 2.75, 3]
    assert [guess_grid(n, (16, 8)) for n in (196, 128, 210, 162)] == [(14, 14), (16, 8), (21, 10), (18, 9)]
    assert guess_grid(210, (10, 21)) == (10, 21)


@torch.no_grad()
def test_a_vit_takes_images_of_another_size():
    ours = small_vit((64, 32))
    nn.init.normal_(ours.pos_embed)
    built_for_it = small_vit((96, 64))
    fill_backbone(built_for_it, ours.state_dict(), "vit.pth", "build_vit_backbone")
    images = torch.rand(2, 3, 96, 64)
    torch.testing.assert_close(ours(images), built_for_it(images))
    assert ours(images[:, :, :64, :32]).shape == (2, 24, 1, 1)


@torch.no_grad()
def test_torchvisions_regnet_computes_the_same(tmp_path):
    theirs = models.regnet_y_400mf().eval()
    torch.save(theirs.state_dict(), tmp_path / "regnet.pth")
    ours = build("regnet", "400y", tmp_path / "regnet.pth", LAST_STRIDE=2)
    images = torch.rand(1, 3, 64, 32)
    torch.testing.assert_close(ours(images), theirs.trunk_output(theirs.stem(images)), atol=1e-5, rtol=1e-4)


def test_torchreids_osnet(tmp_path):
    """Its backbone has the host's names; behind it are an embedding and a classifier."""
    theirs = build("osnet", "x0_25").state_dict()
    extra = {"fc.0.weight": torch.rand(512, 128), "fc.1.running_mean": torch.rand(512)}
    content = {f"module.{name}": value for name, value in (theirs | extra).items()}
    torch.save({"state_dict": content, "rank1": 0.9, "optimizer": {"state": {}}}, tmp_path / "osnet.pth")
    same_weights(build("osnet", "x0_25", tmp_path / "osnet.pth"), theirs, {name: name for name in theirs})


def test_moco_keeps_the_encoder_that_is_trained(tmp_path):
    state = models.resnet18().state_dict()
    query = {f"module.encoder_q.{name}": value for name, value in state.items()}
    key = {f"module.encoder_k.{name}": torch.zeros_like(value) for name, value in state.items()}
    torch.save({"arch": "resnet18", "state_dict": key | query}, tmp_path / "moco.pth")
    ours = build("resnet", "18x", tmp_path / "moco.pth")
    assert torch.equal(ours.conv1.weight, state["conv1.weight"])


def test_a_deeper_networks_file_is_refused(tmp_path):
    torch.save(models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(PretrainedError, match=r"no place for, such as layer1\.2\.conv1\.weight.*DEPTH"):
        build("resnet", "18x", tmp_path / "resnet34.pth")


def test_a_missing_file_is_named_for_every_backbone(tmp_path):
    with pytest.raises(PretrainedError, match=re.escape(str(tmp_path / "none.pth"))):
        build("vit", "small", tmp_path / "none.pth")


def build_own_backbone(cfg):
    return nn.Sequential(nn.Conv2d(3, 4, 3))


def test_own_backbones_are_pretrained_or_say_so(tmp_path, monkeypatch):
    """Registered whenever, from a module that need not know torch."""
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_own_backbone", build_own_backbone)
    monkeypatch.setattr(build_own_backbone, "__module__", "json")  # one without a name `torch`
    with pytest.raises(PretrainedError, match=r"none\.pth"):
        build("own", "", tmp_path / "none.pth")
    with pytest.raises(PretrainedError, match="build_own_backbone has no weights of its own"):
        build("own", "", PRETRAIN=True)
    theirs = build("own", "").state_dict()
    torch.save(theirs, tmp_path / "own.pth")
    same_weights(build("own", "", tmp_path / "own.pth"), theirs, {name: name for name in theirs})
