"""A run's folder, opened: as training leaves it, as an evaluation does, and damaged."""

import json
import os

import pytest

from mmt_plugin.config import ConfigError
from mmt_plugin.runs.recipe import recipe_changes
from mmt_plugin.runs.run import Run, RunError
from mmt_plugin.system.files import DamagedFileError


@pytest.fixture
def folder(tiny_config, tmp_path):
    cfg = tiny_config(SOLVER__MAX_EPOCH=7)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    return tmp_path


def test_a_run_is_what_its_files_tell(folder):
    run = Run(folder)
    assert (run.cfg.SOLVER.MAX_EPOCH, run.is_complete, run.results, run.sources) == (7, False, {}, [])
    assert run.torch_version is None
    assert run.scalars.num_epochs == 0
    with pytest.raises(RunError, match=r"there is no results\.json; the run is not finished"):
        _ = run.record
    with pytest.raises(RunError, match=r"there is no model_final\.pth; the run is not finished"):
        _ = run.weights
    (folder / "log.txt").write_text("a\nPyTorch                 2.6.0 @/somewhere\n")
    (folder / "results.json").write_text('{"metrics": {"mAP": 1.0}}')
    (folder / "model_final.pth").touch()
    run = Run(folder / "model_final.pth")
    assert run.record == {"metrics": {"mAP": 1.0}}
    assert (run.folder, run.weights, run.torch_version) == (folder, folder / "model_final.pth", "2.6.0")


def test_keys_that_an_earlier_version_lacked_have_their_defaults(folder):
    lines = (folder / "config.yaml").read_text().splitlines()
    (folder / "config.yaml").write_text("\n".join(line for line in lines if "TOP_K" not in line))
    assert Run(folder).cfg.TEST.TOP_K == 0


@pytest.mark.fault
@pytest.mark.parametrize("content", [b"{", b"[1]", b"nothing", b"[" * 100_000, b"\xff\xfe"])
def test_a_damaged_record_is_named(folder, content, observe):
    (folder / "results.json").write_bytes(content)
    with pytest.raises(RunError, match=r"results\.json is (no JSON|damaged|no text)") as error:
        _ = Run(folder).results
    observe("results.json: damaged, nested without end, or no text", error.value)


@pytest.mark.fault
def test_what_is_in_the_place_of_a_record_is_refused_or_left_out(folder, observe):
    metrics = folder / "metrics.json"
    metrics.write_text('{"iteration": 0, "loss": 1}\n' + "[" * 100_000 + '\n{"loss": 2}\n3\n{"iter')
    assert Run(folder).scalars.training["loss"].values == [1]
    metrics.unlink()
    os.mkfifo(metrics)
    with pytest.raises(DamagedFileError, match=r"metrics\.json is refused: it is no regular file") as error:
        _ = Run(folder).scalars
    observe("a pipe in the place of metrics.json", error.value)


@pytest.mark.fault
def test_a_configuration_cannot_grow(folder, observe):
    bomb = "a: &a {x: 1}\n" + "".join(f"b{i}: &b{i} [*a, *{f'b{i - 1}' if i else 'a'}]\n" for i in range(30))
    (folder / "evaluation.json").write_text(json.dumps({"metrics": {}, "config": bomb}))
    with pytest.raises(ConfigError, match="more than 20 aliases") as error:
        _ = Run(folder).record_cfg
    with pytest.raises(ConfigError, match="more than 20 aliases"):
        recipe_changes(bomb, "MODEL: {}")
    observe("aliases without end in a recorded configuration", error.value)


def test_an_evaluation_has_a_configuration_of_its_own(folder):
    text = (folder / "config.yaml").read_text()
    record = {"metrics": {}, "config": text.replace("MAX_EPOCH: 7", "MAX_EPOCH: 8")}
    (folder / "evaluation.json").write_text(json.dumps(record))
    assert (Run(folder).cfg.SOLVER.MAX_EPOCH, Run(folder).record_cfg.SOLVER.MAX_EPOCH) == (7, 8)
    (folder / "config.yaml").unlink()
    assert Run(folder).cfg.SOLVER.MAX_EPOCH == 8
    (folder / "evaluation.json").write_text("{}")
    with pytest.raises(RunError, match="tells no configuration"):
        _ = Run(folder).cfg
    (folder / "evaluation.json").unlink()
    with pytest.raises(RunError, match="is no run"):
        Run(folder)
