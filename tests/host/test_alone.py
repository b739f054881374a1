"""The room of repairs stands alone: what it needs of the plugin is handed over."""

import ast
from pathlib import Path

import pytest
from fastreid.data import build_reid_train_loader
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.samplers import TrainingSampler

import mmt_plugin.host
from mmt_plugin.errors import UserError

ROOM = Path(mmt_plugin.host.__file__).parent


@pytest.mark.parametrize("module", sorted(path.name for path in ROOM.glob("*.py")))
def test_no_repair_imports_the_plugin(module):
    for node in ast.walk(ast.parse((ROOM / module).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level < 2
            assert not (node.module or "").startswith("mmt_plugin")
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("mmt_plugin") for alias in node.names)


def test_nothing_of_the_plugin_uses_the_repairs_as_a_library():
    package = ROOM.parent
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if ROOM not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and "host" in (node.module or "").split(".")
    }
    assert users == {"host_parts.py"}  # and __init__, which imports the room itself


def test_a_users_mistakes_are_user_errors(cfg, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"'Markt1501'.*did you mean Market1501.*DATASETS\.NAMES"):
        DATASET_REGISTRY.get("Markt1501")
    with pytest.raises(UserError, match="training set is empty"):
        TrainingSampler(0)
    cfg.DATALOADER.NUM_INSTANCE = 3
    with pytest.raises(UserError, match=r"DATALOADER\.NUM_INSTANCE"):
        build_reid_train_loader(cfg)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(UserError, match=r"Market-1501.*FASTREID_DATASETS"):
        build_reid_train_loader(cfg)
