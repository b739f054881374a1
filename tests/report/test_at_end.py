"""The report as a step of a run: resumed, repeated, and failing."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from mmt_plugin.engine import run
from mmt_plugin.report import at_end as report_step
from mmt_plugin.report.label_record import LabelRecorder
from mmt_plugin.report.records import FOLDER


@pytest.fixture
def config(tiny_config):
    """A function of overrides: the config of a run of three epochs that needs no source models."""

    def make(**overrides):
        settings = {"REPORT__ENABLED": True, "MMT__SOURCE__PRETRAIN": False, "SOLVER__MAX_EPOCH": 3}
        return tiny_config(
            "plaza2metro_baseline", **{**settings, "SOLVER__CHECKPOINT_PERIOD": 1, **overrides}
        )

    return make


def charts(folder: str) -> dict[str, str]:
    """All drawings of a page but the timeline, which differs from run to run."""
    text = Path(folder, "report.html").read_text()
    found = re.findall(r'<svg [^>]*data-chart="([^"]+)">(.*?)</svg>', text, re.DOTALL)
    return {name: body for name, body in found if name != "timeline"}


@pytest.mark.parametrize("iteration", [2, 5])  # the start of the second epoch; within the third
def test_a_resumed_run_has_the_report_of_one_that_was_not_stopped(config, cut_off, tmp_path, iteration):
    whole = config(OUTPUT_DIR=str(tmp_path / "whole"))
    run(whole, "", resume=False)
    parts = config(OUTPUT_DIR=str(tmp_path / "parts"))
    with cut_off(iteration):
        run(parts, "", resume=False)
    assert not Path(parts.OUTPUT_DIR, "report.html").exists()
    run(parts, "", resume=True)
    expected, found = charts(whole.OUTPUT_DIR), charts(parts.OUTPUT_DIR)
    assert found.keys() == expected.keys()
    for name, body in expected.items():
        assert found[name] == body, name
    for record in Path(whole.OUTPUT_DIR, FOLDER).iterdir():
        assert record.read_bytes() == Path(parts.OUTPUT_DIR, FOLDER, record.name).read_bytes(), record.name


def test_a_complete_run_keeps_its_report_and_writes_a_lost_one_again(config):
    cfg = config()
    run(cfg, "", resume=False)
    page = Path(cfg.OUTPUT_DIR, "report.html")
    page.write_text("mine")
    run(cfg, "", resume=True)
    assert page.read_text() == "mine"
    page.unlink()
    run(cfg, "", resume=True)
    assert "<h1>" in page.read_text()


def test_a_report_that_fails_does_not_fail_the_training(config, monkeypatch, caplog):
    def fail(folder):
        raise ZeroDivisionError("a bug in the report")

    monkeypatch.setattr(report_step, "write_report", fail)
    cfg = config()
    with caplog.at_level(logging.ERROR, logger="fastreid.mmt.report"):
        metrics = run(cfg, "", resume=False)
    assert metrics["mAP"] > 0
    assert json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())["metrics"] == pytest.approx(metrics)
    assert f"mmt report {cfg.OUTPUT_DIR}" in caplog.text
    assert "a bug in the report" in caplog.text


def test_a_full_disk_costs_the_records_only(config, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LabelRecorder, "record", full)
    monkeypatch.setattr(report_step, "save_record", full)
    cfg = config()
    metrics = run(cfg, "", resume=False)
    assert metrics["mAP"] > 0
    assert caplog.text.count("was not kept for the report") == 3
    assert "No features were kept" in Path(cfg.OUTPUT_DIR, "report.html").read_text()


def test_the_record_is_of_the_labels_in_use(config):
    cfg = config(SOLVER__MAX_EPOCH=2)
    run(cfg, "", resume=False)
    last = np.load(Path(cfg.OUTPUT_DIR, FOLDER, "last_labels.npz"))
    lines = [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()]
    recorded = [line for line in lines if "clusters" in line][-1]
    assert last["epoch"] == 1
    assert last["labels"].max() + 1 == recorded["clusters"]
    assert np.bincount(last["labels"]).max() == recorded["largest_cluster"]
    assert recorded["seconds/k-means"] <= recorded["clustering_seconds"]
    assert any("training_seconds" in line and line["training_seconds"] > 0 for line in lines)
    assert any("evaluation_seconds" in line for line in lines)
