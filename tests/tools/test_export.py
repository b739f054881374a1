"""The command that exports a run, and every tool's help."""

import re
import runpy
from pathlib import Path

import pytest
from fastreid.modeling.meta_arch import build_model
from tiny import REPOSITORY

from mmt_plugin.engine.resume.checkpointer import MMTCheckpointer

TOOLS = sorted(path.name for path in (REPOSITORY / "tools").glob("*.py"))


@pytest.fixture
def finished_run(tiny_config) -> Path:
    cfg = tiny_config()
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir()
    MMTCheckpointer(build_model(cfg), str(folder)).save("model_final")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


def test_it_prints_the_difference_and_the_folder(finished_run, command):
    out = command("export", finished_run, "--format", "torchscript").out
    assert "largest difference of a feature: " in out
    assert "(limit 0.0001)" in out
    assert f"written: {finished_run / 'export_torchscript'}" in out
    names = sorted(path.name for path in (finished_run / "export_torchscript").iterdir())
    assert names == ["config.yaml", "model.torchscript"]


def test_a_difference_is_a_failure(finished_run, command, monkeypatch):
    monkeypatch.setattr("mmt_plugin.inference.exports.TOLERANCE", -1.0)
    before = sorted(finished_run.iterdir())
    ended = command("export", finished_run, "--format", "safetensors")
    assert ended.status == 2
    assert "error: the features of the safetensors file differ" in ended.err
    assert sorted(finished_run.iterdir()) == before


def test_mistakes_end_with_one_sentence(finished_run, command, tmp_path):
    for source, images, message in (
        (tmp_path / "nowhere", [], "does not exist"),
        (tmp_path, [], r"holds no config\.yaml"),
        (finished_run, ["--images", tmp_path / "none.jpg"], r"none\.jpg cannot be read as an image"),
    ):
        ended = command("export", source, "--format", "safetensors", *images)
        assert ended.status == 2
        assert re.match(f"error: .*{message}", ended.err)


@pytest.mark.parametrize("tool", TOOLS)
def test_help_says_what_a_tool_does_and_how_it_is_called(tool, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.argv", [tool, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(REPOSITORY / "tools" / tool), run_name="__main__")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert f"    python tools/{tool}" in out
    assert "--help" in out
    assert all(len(line) <= 110 for line in out.splitlines())
