"""The harness as a user calls it: runs, is interrupted, goes on, and keeps what is true."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ablation.errors import AblationError
from ablation.fill import fill_grids
from ablation.grid import load_grid
from small_grid import BASELINE, OVERRIDES, SYNTHETIC
from tiny import REPOSITORY


def write_grid(path: Path, name: str = "baseline", **overrides) -> None:
    weights = ["nowhere/a.pth", "nowhere/b.pth"]
    tree = {
        "title": "Tiny",
        "config": str(SYNTHETIC / "plaza2metro_mmt.yml"),
        "overrides": {**OVERRIDES, **overrides},
        "rows": {
            "direct transfer": {"kind": "source"},
            "broken": {"overrides": {"MMT.WEIGHTS": weights}},
            name: BASELINE,
            "re-ranked": {
                "kind": "ranking",
                "config": str(SYNTHETIC.parent / "evaluate" / "synthmetro.yml"),
                "runs": [name],
            },
        },
    }
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.fixture
def harness(tmp_path, datasets_root):
    """A function: further arguments -> the words of a call, and its environment."""
    grid = tmp_path / "tiny.yml"
    write_grid(grid)
    tool = [sys.executable, str(REPOSITORY / "tools" / "ablation"), str(grid), "--seeds", "1"]
    tool += ["--output", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    return tool, {**os.environ, "FASTREID_DATASETS": str(datasets_root)}


def call(harness, *arguments: str) -> subprocess.CompletedProcess:
    words, environment = harness
    return subprocess.run(
        [*words, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )


def kept(folder: Path, grid: str) -> dict[str, dict]:
    """Results of a grid by row name, of which each has one."""
    lines = (folder / "results" / f"{grid}.jsonl").read_text().splitlines()
    return {record["row"]: record for record in map(json.loads, lines)}


def recorded_map(results: Path) -> float:
    return json.loads(results.read_text())["metrics"]["mAP"]


def test_a_grid_is_interrupted_goes_on_and_keeps_what_is_true(harness, tmp_path):
    words, environment = harness
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in process.stdout:
        if line.startswith("kept:"):
            process.send_signal(signal.SIGTERM)
            break
    rest = process.communicate(timeout=200)[0]
    assert process.returncode == 1
    assert "interrupted; the same command goes on" in rest
    assert list(kept(tmp_path, "tiny")) == ["direct transfer"]

    again = call(harness)
    assert again.returncode == 1
    assert "source model" not in again.stdout
    assert "failed: broken, seed 1: ended with status 2" in again.stdout
    assert "checkpoint 'nowhere/a.pth' does not exist" in again.stdout
    results = kept(tmp_path, "tiny")
    assert list(results) == ["direct transfer", "baseline", "re-ranked"]
    ranked = results["re-ranked"]
    assert ranked["metrics"]["mAP"] == pytest.approx(
        recorded_map(tmp_path / "runs" / "tiny" / "seed1" / "re_ranked" / "evaluation.json"), abs=1e-3
    )
    assert ranked["clusters"] is ranked["minutes"] is None
    (source,) = (tmp_path / "runs" / "sources").glob("*/seed1/results.json")
    assert results["direct transfer"]["metrics"]["mAP"] == pytest.approx(recorded_map(source), abs=1e-3)
    result = results["baseline"]
    trained = recorded_map(tmp_path / "runs" / "tiny" / "seed1" / "baseline" / "results.json")
    assert result["metrics"]["mAP"] == pytest.approx(trained, abs=1e-3)
    assert [group["iterations"] for group in result["curves"] if "mAP" in group] == [[2, 4]]
    assert [group["iterations"] for group in result["curves"] if "ARI" in group] == [[0, 2]]
    assert (result["clusters"], result["images_per_bn"]) == (8, 8)

    shutil.rmtree(tmp_path / "runs")
    table = call(harness, "--table-only")
    assert table.returncode == 0
    assert f"{trained:.1f}" in table.stdout
    assert (tmp_path / "runs" / "tiny" / "curves.png").is_file()
    shutil.rmtree(tmp_path / "runs")

    folders = {"output": tmp_path / "runs", "results": tmp_path / "results"}
    write_grid(tmp_path / "other.yml", name="the same")
    assert fill_grids([load_grid(tmp_path / "other.yml")], ["the same"], [1], **folders, processes=1) == []
    shared = kept(tmp_path, "other")["the same"]
    assert shared["metrics"] == result["metrics"]
    assert not (tmp_path / "runs").exists()

    write_grid(tmp_path / "tiny.yml", **{"SOLVER.BASE_LR": 0.1})
    with pytest.raises(AblationError, match=r"row 'baseline' .*SOLVER\.BASE_LR was 0\.00035, is 0\.1"):
        fill_grids([load_grid(tmp_path / "tiny.yml")], [], [1], **folders, processes=1)
    assert not (tmp_path / "runs").exists()
