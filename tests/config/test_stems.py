"""Recipes pool the stem as the weights that they start from were trained."""

import pytest
from tiny import REPOSITORY

from mmt_plugin.config import load_config

CONFIGS = REPOSITORY / "configs"
RECIPES = sorted(path for path in CONFIGS.rglob("*.yml") if path.parent.name != "ablation")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_imagenet_weights_come_with_a_padded_stem(path):
    backbone = load_config(path).MODEL.BACKBONE
    if backbone.NAME == "build_resnet_backbone":
        assert (backbone.STEM_POOL == "padded") == backbone.PRETRAIN
