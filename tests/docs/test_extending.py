"""The code in docs/extending.md trains."""

import json
import re
from pathlib import Path

import pytest
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.inference import FeatureExtractor
from mmt_plugin.pseudo_labels import METHODS

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()
CONFIG = str(REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml")


@pytest.fixture
def page():
    """What the code of the page defines; what it registers is taken back after the test."""
    registries = [BACKBONE_REGISTRY._obj_map, META_ARCH_REGISTRY._obj_map, METHODS]
    before = [dict(registry) for registry in registries]
    names: dict = {"__name__": "my_parts"}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/extending.md", "exec"), names)
    yield names
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


def test_the_parts_of_the_page_train_together(page, tiny_config, tmp_path):
    tiny_config()  # makes the built-in world tiny
    options = {
        **TINY,
        "MMT.SOURCE.PRETRAIN": False,
        "MMT.EMA.ALPHA": 0.5,
        "OUTPUT_DIR": str(tmp_path / "run"),
    }
    results = page["train"](CONFIG, [*as_options(options), *page["METHOD"], *page["BACKBONE"]])
    assert 0 < results["mAP"] <= 100
    lines = [json.loads(line) for line in Path(tmp_path, "run", "metrics.json").read_text().splitlines()]
    recorded = {name: value for line in lines for name, value in line.items()}
    assert 0 < recorded["loss_consistency"] < 0.4
    assert recorded["clusters"] == TINY["PSEUDO_LABELS.KMEANS.NUM_CLUSTERS"]
    extractor = FeatureExtractor(tmp_path / "run")
    assert extractor.feature_size == 512
