import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmt_plugin.engine.pipeline import train

SHORT = {"PSEUDO_LABELS__METHOD": "ground_truth", "SOLVER__WARMUP_ITERS": 0}


class FakeRun:
    def __init__(self):
        self.lines, self.finished = {}, False

    def log(self, values, step):
        assert not self.lines or step >= max(self.lines), "steps go forward"
        self.lines.setdefault(step, {}).update(values)

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the service: (arguments of init, run) of every call."""
    calls = []

    def init(**arguments):
        calls.append((arguments, FakeRun()))
        return calls[-1][1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    return calls


def test_it_gets_the_scalars_of_metrics_json(tiny_config, wandb):
    cfg = tiny_config("source", REPORT__WANDB_PROJECT="cameras", **SHORT)
    train(cfg, resume=False)
    ((arguments, run),) = wandb
    assert (arguments["project"], arguments["config"]["SEED"]) == ("cameras", cfg.SEED)
    expected = {}
    for line in Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines():
        values = json.loads(line)
        expected.setdefault(values.pop("iteration"), {}).update(values)
    assert run.lines == expected
    assert run.finished


def test_a_resumed_run_goes_on_under_its_name(tiny_config, wandb):
    train(tiny_config("source", REPORT__WANDB_PROJECT="cameras", SOLVER__MAX_EPOCH=1, **SHORT), resume=False)
    cfg = tiny_config("source", REPORT__WANDB_PROJECT="cameras", SOLVER__MAX_EPOCH=2, **SHORT)
    Path(cfg.OUTPUT_DIR, "results.json").unlink()
    train(cfg, resume=True)
    (first, earlier), (second, later) = wandb
    assert first["id"] == second["id"]
    assert min(later.lines) > max(earlier.lines)


def test_a_missing_package_is_named_with_its_command(tiny_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"REPORT\.WANDB_PROJECT is set.*pip install wandb"):
        train(tiny_config("source", REPORT__WANDB_PROJECT="cameras", **SHORT), resume=False)
