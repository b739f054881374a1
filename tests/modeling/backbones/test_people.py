"""Networks that were pre-trained on people, from files laid out as published, against plain versions of the
published forward passes.
"""

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling.backbones import build_backbone
from torch import nn

from mmt_plugin.modeling.backbones.people_vit import VARIANTS, PeopleViTError, Variant
from mmt_plugin.weights.backbones import PretrainedError
from mmt_plugin.weights.positions import resize_positions

SIZE = [64, 32]


@pytest.fixture
def build(tiny_config, monkeypatch, tmp_path):
    """The backbone of a variant, with the weights of a file if there is content for one."""
    for name, variant in (
        ("plain", Variant(16, 2)),
        ("ics", Variant(16, 2, "ics")),
        ("pass", Variant(16, 2, parts=True)),
    ):
        monkeypatch.setitem(VARIANTS, name, variant)

    def make(depth: str, content: dict | None = None, size=SIZE, builder="build_people_vit_backbone", **keys):
        settings = {f"MODEL__BACKBONE__{key}": value for key, value in keys.items()}
        if content is not None:
            torch.save(content, tmp_path / "people.pth")
            settings |= {
                "MODEL__BACKBONE__PRETRAIN": True,
                "MODEL__BACKBONE__PRETRAIN_PATH": str(tmp_path / "people.pth"),
            }
        cfg = tiny_config(
            MODEL__BACKBONE__NAME=builder, MODEL__BACKBONE__DEPTH=depth, INPUT__SIZE_TRAIN=size, **settings
        )
        cfg.defrost()
        cfg.INPUT.SIZE_TEST = size
        return build_backbone(cfg).eval()

    return make


def as_dino(state: dict) -> dict:
    """A checkpoint of DINO, as TransReID-SSL and PASS release them."""
    student = {f"module.backbone.{name}": torch.zeros_like(value) for name, value in state.items()}
    teacher = {f"backbone.{name}": value for name, value in state.items()}
    return {"student": student, "teacher": {**teacher, "head.mlp.0.weight": torch.rand(4, 16)}, "epoch": 9}


def random_state(network: nn.Module) -> dict:
    torch.manual_seed(3)
    state = network.state_dict()
    return {
        name: 0.5 + torch.rand_like(value)
        if "var" in name
        else 0.1 * torch.randn_like(value)
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }


def published_forward(w: dict, images: torch.Tensor, ics: bool, parts: bool) -> torch.Tensor:
    """Features of the last layer, B x T x D."""
    x = images
    if ics:
        for i in (0, 3, 6):
            x = F.conv2d(
                x, w[f"patch_embed.conv.{i}.weight"], stride=2 if i == 0 else 1, padding=3 if i == 0 else 1
            )
            n = f"patch_embed.conv.{i + 1}."
            if i < 6:
                one, two = x.split(32, dim=1)
                one = F.instance_norm(one, weight=w[f"{n}IN.weight"], bias=w[f"{n}IN.bias"])
                n += "BN."
            else:
                one, two = x[:, :0], x
            two = F.batch_norm(
                two, w[f"{n}running_mean"], w[f"{n}running_var"], w[f"{n}weight"], w[f"{n}bias"]
            )
            x = torch.cat([one, two], dim=1).relu()
    patch = w["patch_embed.proj.weight"].shape[2]
    x = (
        F.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch)
        .flatten(2)
        .transpose(1, 2)
    )
    tokens, positions = [w["cls_token"]], [w["pos_embed"]]
    if parts:
        tokens += [w[f"part_token{i}"] for i in (1, 2, 3)]
        positions = [w["cls_pos"], *(w[f"part{i}_pos"] for i in (1, 2, 3)), w["pos_embed"]]
    x = torch.cat([torch.cat(tokens, 1).expand(len(x), -1, -1), x], dim=1) + torch.cat(positions, 1)
    for i in range(12):
        b = f"blocks.{i}."
        y = F.layer_norm(x, (16,), w[f"{b}norm1.weight"], w[f"{b}norm1.bias"], 1e-6)
        qkv = (
            F.linear(y, w[f"{b}attn.qkv.weight"], w[f"{b}attn.qkv.bias"])
            .reshape(len(x), -1, 3, 2, 8)
            .permute(2, 0, 3, 1, 4)
        )
        y = F.scaled_dot_product_attention(*qkv).transpose(1, 2).flatten(2)
        x = x + F.linear(y, w[f"{b}attn.proj.weight"], w[f"{b}attn.proj.bias"])
        y = F.layer_norm(x, (16,), w[f"{b}norm2.weight"], w[f"{b}norm2.bias"], 1e-6)
        y = F.gelu(F.linear(y, w[f"{b}mlp.fc1.weight"], w[f"{b}mlp.fc1.bias"]))
        x = x + F.linear(y, w[f"{b}mlp.fc2.weight"], w[f"{b}mlp.fc2.bias"])
    return F.layer_norm(x, (16,), w["norm.weight"], w["norm.bias"], 1e-6)


@torch.no_grad()
@pytest.mark.parametrize("depth", ["plain", "ics", "pass"])
def test_a_vit_computes_what_was_published(build, depth):
    state = random_state(build(depth))
    images = torch.randn(2, 3, *SIZE)
    x = published_forward(state, images, ics=depth == "ics", parts=depth == "pass")
    told = torch.cat([x[:, 0], (x[:, 1] + x[:, 2] + x[:, 3]) / 3], dim=1) if depth == "pass" else x[:, 0]
    features = build(depth, as_dino(state), TOKENS="class")(images)
    torch.testing.assert_close(features[:, :, 0, 0], told, atol=1e-5, rtol=1e-4)
    patches = build(depth, state)(images)  # a bare file; the map of patches
    torch.testing.assert_close(patches.flatten(2).transpose(1, 2), x[:, -8:], atol=1e-5, rtol=1e-4)
    larger = build(depth, as_dino(state), size=[96, 32])
    positions = state["pos_embed"]
    if depth == "pass":
        positions = torch.cat([torch.zeros(1, 1, 16), positions], dim=1)
    expected = resize_positions(positions, (6, 2))
    torch.testing.assert_close(larger.pos_embed, expected[:, 1:] if depth == "pass" else expected)


@pytest.mark.parametrize(
    ("depth", "size", "message"),
    [("tiny", SIZE, "knows small, base, small_ics"), ("small", [60, 32], r"multiples of 16")],
)
def test_what_cannot_be_built_is_refused(build, depth, size, message):
    with pytest.raises(PeopleViTError, match=message):
        build(depth, size=size)


def test_files_of_other_networks_and_missing_files_are_refused(build):
    plain = as_dino(build("plain").state_dict())
    for depth in ("ics", "pass"):
        with pytest.raises(PretrainedError, match="lacks"):
            build(depth, plain)
    with pytest.raises(PretrainedError, match=r"has no weights of its own: name a file with\s+MODEL"):
        build("plain", PRETRAIN=True)


def test_transreids_vit_into_timms(build):
    """Positions of 128 patches are no square; the class token's stays."""
    timm = pytest.importorskip("timm")
    state = timm.create_model("test_vit", img_size=(256, 128), num_classes=0).state_dict()
    for size, grid in ((SIZE, (4, 2)), ([256, 128], (16, 8))):
        ours = build("test_vit", as_dino(state), size, "build_timm_backbone", TOKENS="class")
        torch.testing.assert_close(ours.model.pos_embed, resize_positions(state["pos_embed"], grid))


@torch.no_grad()
def test_soliders_swin(build):
    """Published files, in which 2 x 2 neighbours have another order, and channels are scaled and shifted."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    name = "swin_tiny_patch4_window7_224"
    swin = timm.create_model(
        name, img_size=(96, 32), num_classes=0, global_pool="", always_partition=True
    ).eval()
    solider, expected = {}, {}
    for key, value in swin.state_dict().items():
        parts = key.split(".")
        if "relative_position_index" in key or "attn_mask" in key:
            continue
        if (
            "downsample" in key
        ):  # mmdetection's: at the end of a stage, the four neighbours of a channel together
            parts[1] = str(int(parts[1]) - 1)
            ordered = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :].transpose(-1, -2).flatten(-2)
            value = ordered
        key = (
            ".".join(parts)
            .replace("layers.", "stages.")
            .replace("patch_embed.proj", "patch_embed.projection")
        )
        key = (
            key.replace(".attn.", ".attn.w_msa.")
            .replace("mlp.fc1", "ffn.layers.0.0")
            .replace("mlp.fc2", "ffn.layers.1")
        )
        solider[f"backbone.{'norm3' + key[4:] if key.startswith('norm.') else key}"] = value
    for stage, width in enumerate((192, 384, 768, 768)):
        for kind in "wb":
            layer = nn.Linear(2, width)
            solider |= {
                f"backbone.semantic_embed_{kind}.{stage}.{k}": v for k, v in layer.state_dict().items()
            }
            expected[kind, stage] = layer(torch.tensor([0.2, 0.8]))
    solider |= {f"backbone.norm{i}.weight": torch.rand(96 * 2**i) for i in range(3)}
    images = torch.randn(2, 3, 96, 32)
    for stage in range(3):
        scale, shift = F.softplus(expected["w", stage]), expected["b", stage]
        swin.layers[stage + 1].downsample.register_forward_hook(lambda *a, w=scale, b=shift: a[2] * w + b)
    features = build(name, {"teacher": solider}, [96, 32], "build_solider_backbone")(images)
    reference = swin.forward_features(images).permute(0, 3, 1, 2)
    torch.testing.assert_close(features, reference, atol=1e-4, rtol=1e-4)
