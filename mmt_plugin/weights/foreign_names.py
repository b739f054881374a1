"""How other projects name the weights of the host's backbones.

A layout is a list of (pattern, replacement); the first pattern that matches a name renames it, other names
stay.
"""

import re
from collections.abc import Callable

Replacement = str | Callable[[re.Match], str]
Layout = tuple[tuple[re.Pattern, Replacement], ...]

# Where a file holds several networks of one architecture, the one that its project evaluates with stands
# below a key of such a name: means of weights over time, and MoCo's encoder that is trained by gradients.
PREFERRED = ("teacher", "mean_net", "state_dict_ema", "model_ema", "encoder_q", "base_encoder")

# A BNNeck, a learnt pooling exponent and a classifier, in fastreid (now, and in its model zoo), MMT, SpCL and
# Cluster-Contrast, OpenUnReID, TransReID, strong-baseline: all below where the backbone stands.
NECKS = ("heads.bottleneck.0.", "heads.bottleneck.1.", "heads.bnneck.", "bottleneck.", "bnneck.")
NECKS += ("feat_bn.", "head.feat_bn.", "bn_neck.")
POOLS = ("heads.pool_layer.p", "gap.p", "global_pooling.p", "global_pool.p", "pool.p", "pooling.p")
CLASSIFIERS = ("heads.weight", "heads.classifier.weight", "classifier.weight")
# A layer between pooling and neck; networks whose neck follows the pooling at once have none.
EMBEDDINGS = ("feat.weight", "head.feat_reduction.weight", "fc.0.weight")


def layout(*renames: tuple[str, Replacement]) -> Layout:
    """A layout of patterns, each for the beginning of a name."""
    return tuple((re.compile(pattern), replacement) for pattern, replacement in renames)


def rename(name: str, renames: Layout) -> str:
    """The host's name of a weight."""
    for pattern, replacement in renames:
        if pattern.match(name):
            return pattern.sub(replacement, name, count=1)
    return name


# The host's own names; also those of torchvision, timm and IBN-Net for ResNets, of IBN-Net and timm for
# ResNeXts, of their authors and timm for ResNeSts, of pycls for RegNet and EfficientNet.
OWN = layout()

# tonylins/pytorch-mobilenet-v2 and projects that started from it: the last convolution is a feature.
_MOBILENETV2_FLAT = layout((r"features\.18\.", "conv."))
# torchvision: each convolution and its BN are a layer of their own, the last pair of a block is not.
_MOBILENETV2_TORCHVISION = layout(
    (r"features\.18\.", "conv."),
    (r"features\.1\.conv\.0\.(\d)\.", r"features.1.conv.\1."),
    (r"features\.1\.conv\.1\.", "features.1.conv.3."),
    (r"features\.1\.conv\.2\.", "features.1.conv.4."),
    (r"features\.(\d+)\.conv\.0\.(\d)\.", r"features.\1.conv.\2."),
    (r"features\.(\d+)\.conv\.1\.0\.", r"features.\1.conv.3."),
    (r"features\.(\d+)\.conv\.1\.1\.", r"features.\1.conv.4."),
    (r"features\.(\d+)\.conv\.2\.", r"features.\1.conv.6."),
    (r"features\.(\d+)\.conv\.3\.", r"features.\1.conv.7."),
)
# timm: blocks are numbered within their stage.
_MOBILENETV2_STAGES = (1, 2, 3, 4, 3, 3, 1)
_MOBILENETV2_LAYERS = {"conv_pw": 0, "bn1": 1, "conv_dw": 3, "bn2": 4, "conv_pwl": 6, "bn3": 7}
_MOBILENETV2_TIMM = layout(
    (r"conv_stem\.", "features.0.0."),
    (r"bn1\.", "features.0.1."),
    (r"conv_head\.", "conv.0."),
    (r"bn2\.", "conv.1."),
    (r"blocks\.0\.0\.conv_dw\.", "features.1.conv.0."),
    (r"blocks\.0\.0\.bn1\.", "features.1.conv.1."),
    (r"blocks\.0\.0\.conv_pw\.", "features.1.conv.3."),
    (r"blocks\.0\.0\.bn2\.", "features.1.conv.4."),
    *(
        (
            rf"blocks\.{stage}\.{block}\.{name}\.",
            f"features.{1 + sum(_MOBILENETV2_STAGES[:stage]) + block}.conv.{index}.",
        )
        for stage, count in enumerate(_MOBILENETV2_STAGES)
        for block in range(count)
        for name, index in _MOBILENETV2_LAYERS.items()
        if stage
    ),
)

# The children of a torchvision ResNet as a sequence: without its ReLU in MMT, with it in SpCL,
# Cluster-Contrast, and whoever writes nn.Sequential(*list(resnet.children())[:-2]).
MMT = "yxgeee/MMT"
_RESNETS = {
    MMT: layout((r"0\.", "conv1."), (r"1\.", "bn1."), (r"([3-6])\.", lambda m: f"layer{int(m[1]) - 2}.")),
    "SpCL and Cluster-Contrast": layout(
        (r"0\.", "conv1."), (r"1\.", "bn1."), (r"([4-7])\.", lambda m: f"layer{int(m[1]) - 3}.")
    ),
}

# torchvision's vision transformer.
_VIT_LAYERS = {"ln_1": "norm1", "ln_2": "norm2", "self_attention.out_proj": "attn.proj"}
_VIT_LAYERS |= {"mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2", "mlp.linear_1": "mlp.fc1", "mlp.linear_2": "mlp.fc2"}
_VIT_TORCHVISION = layout(
    (r"class_token$", "cls_token"),
    (r"conv_proj\.", "patch_embed.proj."),
    (r"encoder\.pos_embedding$", "pos_embed"),
    (r"encoder\.ln\.", "norm."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
    *(
        (rf"encoder\.layers\.encoder_layer_(\d+)\.{re.escape(theirs)}\.", rf"blocks.\1.{ours}.")
        for theirs, ours in _VIT_LAYERS.items()
    ),
)

# RegNet: pycls' names are the host's.
_REGNET_TIMM = layout(
    *((rf"(s\d\.b\d+)\.conv{i}\.conv\.", rf"\1.f.{letter}.") for i, letter in enumerate("abc", 1)),
    *((rf"(s\d\.b\d+)\.conv{i}\.bn\.", rf"\1.f.{letter}_bn.") for i, letter in enumerate("abc", 1)),
    *((rf"(s\d\.b\d+)\.se\.fc{i}\.", rf"\1.f.se.f_ex.{2 * i - 2}.") for i in (1, 2)),
    (r"(s\d\.b\d+)\.downsample\.conv\.", r"\1.proj."),
    (r"(s\d\.b\d+)\.downsample\.bn\.", r"\1.bn."),
)


def _torchvision_regnet(tail: str) -> Callable[[re.Match], str]:
    return lambda m: f"s{m[1]}.b{int(m[2]) + 1}.{m.expand(tail)}"


_REGNET_BLOCK = r"trunk_output\.block\d\.block(\d)-(\d+)\."
_REGNET_TORCHVISION = layout(
    (r"stem\.0\.", "stem.conv."),
    (r"stem\.1\.", "stem.bn."),
    (_REGNET_BLOCK + r"proj\.0\.", _torchvision_regnet("proj.")),
    (_REGNET_BLOCK + r"proj\.1\.", _torchvision_regnet("bn.")),
    (_REGNET_BLOCK + r"f\.([abc])\.0\.", _torchvision_regnet(r"f.\3.")),
    (_REGNET_BLOCK + r"f\.([abc])\.1\.", _torchvision_regnet(r"f.\3_bn.")),
    (_REGNET_BLOCK + r"f\.se\.fc1\.", _torchvision_regnet("f.se.f_ex.0.")),
    (_REGNET_BLOCK + r"f\.se\.fc2\.", _torchvision_regnet("f.se.f_ex.2.")),
)

# By the name of the builder; others know their own names only.
LAYOUTS = {
    "build_resnet_backbone": _RESNETS,
    "build_resnext_backbone": _RESNETS,
    "build_vit_backbone": {"torchvision": _VIT_TORCHVISION},
    "build_regnet_backbone": {"timm": _REGNET_TIMM, "torchvision": _REGNET_TORCHVISION},
    "build_mobilenetv2_backbone": {
        "tonylins": _MOBILENETV2_FLAT,
        "torchvision": _MOBILENETV2_TORCHVISION,
        "timm": _MOBILENETV2_TIMM,
    },
    "build_densenet_backbone": {
        # IBN-Net's and torchvision's files write norm.1 where the network says norm1.
        "torchvision": layout((r"(.*)\.(norm|conv)\.([12])\.", r"\1.\2\3."))
    },
}
