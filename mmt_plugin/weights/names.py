"""How other projects name the weights of the host's backbones.

A layout is a list of (pattern, replacement); the first pattern that matches a name renames it, other names
stay.
"""

import re

Layout = tuple[tuple[re.Pattern, str], ...]

# What a file may wrap its state dict in, and what may stand before every name.
WRAPPERS = ("state_dict", "model", "model_state", "model_state_dict")
PREFIXES = ("", "module.", "module.encoder.", "encoder.", "backbone.", "module.backbone.", "model.")


def layout(*renames: tuple[str, str]) -> Layout:
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

# By the name of the builder; others know their own names only.
LAYOUTS = {
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
