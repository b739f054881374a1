"""The file of docs/extending.md: every tool works with it, by the page's own commands."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.commands.line import main
from mmt_plugin.inference import FeatureExtractor
from mmt_plugin.modeling.memory import MEMORY_REGISTRY
from mmt_plugin.modeling.objective import LOSS_REGISTRY
from mmt_plugin.pseudo_labels import METHODS

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()


def block(language: str) -> str:
    (body,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return body


@pytest.fixture
def my_parts(tmp_path):
    """The page's file; what it registers is taken back after the test."""
    registries = [r._obj_map for r in (BACKBONE_REGISTRY, LOSS_REGISTRY, MEMORY_REGISTRY)] + [METHODS]
    before = [dict(registry) for registry in registries]
    path = tmp_path / "my_parts.py"
    path.write_text(block("python"))
    yield path
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
    sys.modules.pop("my_parts", None)
    sys.path.remove(str(tmp_path))


def test_the_parts_of_the_page_work_with_every_tool(my_parts, tiny_config, tmp_path, monkeypatch, capsys):
    tiny_config()  # makes the built-in world tiny
    monkeypatch.chdir(REPOSITORY)
    python, tool, *words = shlex.split(block("sh").replace("\\\n", " "))
    assert (python, tool) == ("python", "tools/train_net.py")
    run = tmp_path / "run"
    settings = {name: value for name, value in TINY.items() if not name.startswith("MODEL.BACKBONE")}
    settings |= {"MMT.SOURCE.PRETRAIN": False, "MMT.EMA.ALPHA": 0.5, "OUTPUT_DIR": run, "TEST.EVAL_PERIOD": 1}
    imported = ["--import", str(my_parts)]
    train = ["train", *(str(my_parts) if word == "my_parts.py" else word for word in words)]
    options = [str(word) for word in as_options(settings)]
    assert main([*train, *options, "SOLVER.MAX_EPOCH", "1"]) == 0
    assert main([*train, "--resume", *options]) == 0
    lines = [json.loads(line) for line in Path(run, "metrics.json").read_text().splitlines()]
    recorded = {name: value for line in lines for name, value in line.items()}
    assert 0 < recorded["loss_consistency"] < 0.4
    assert recorded["clusters"] == TINY["PSEUDO_LABELS.KMEANS.NUM_CLUSTERS"]
    results = json.loads((run / "results.json").read_text())
    assert main(["evaluate", *imported, str(run)]) == 0
    assert f"{results['metrics']['mAP']:.2f}" in capsys.readouterr().out
    assert (
        main(["export", *imported, str(run), "--format", "safetensors", "--output", str(tmp_path / "e")]) == 0
    )
    for source in (run, tmp_path / "e"):
        assert FeatureExtractor(source).feature_size == 512
