"""Evaluation, checkpoints and logs at any period."""

import json
from pathlib import Path

import pytest
import torch
from fastreid.engine import hooks
from fastreid.utils.events import CommonMetricPrinter, EventStorage, JSONWriter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_trainer import toy_trainer


def written(cfg, name):
    """(iteration, value) of a scalar in metrics.json."""
    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    return [(line["iteration"], line[name]) for line in map(json.loads, lines) if name in line]


def saved(cfg):
    """{checkpoint: (epoch, metric)}."""
    checkpoints = {
        path.stem: torch.load(path, weights_only=True) for path in Path(cfg.OUTPUT_DIR).glob("*.pth")
    }
    return {name: (data["epoch"], data["metric"]) for name, data in checkpoints.items()}


@pytest.mark.parametrize(("period", "evaluated"), [(1, [1, 3, 5]), (2, [3, 5]), (0, [5]), (7, [5]), (-1, [])])
def test_evaluation_period(cfg, period, evaluated):
    cfg.TEST.EVAL_PERIOD = period
    values = [10.0 + i for i in range(len(evaluated))]
    results = toy_trainer(cfg, values, epochs=3).train()
    assert results == ({"mAP": values[-1], "metric": values[-1]} if values else None)
    assert written(cfg, "mAP") == list(zip(evaluated, values, strict=True))
    assert saved(cfg)["model_final"] == (2, values[-1] if values else -1)
    assert ("model_best" in saved(cfg)) == bool(values)


@pytest.mark.parametrize(
    ("period", "checkpoints"), [(0, []), (-3, []), (2, ["model_0001"]), (1, ["model_0000", "model_0001"])]
)
def test_checkpoint_period(cfg, period, checkpoints):
    cfg.SOLVER.CHECKPOINT_PERIOD = period
    toy_trainer(cfg, [3.0, 2.0, 1.0], epochs=3).train()
    assert sorted(set(saved(cfg)) - {"model_best", "model_final"}) == checkpoints


def test_best_model_survives_a_resumed_run(cfg):
    toy_trainer(cfg, [50.0, 30.0], epochs=2).train()
    assert saved(cfg)["model_best"] == (0, 50.0)
    toy_trainer(cfg, [40.0, 20.0], epochs=4, resume=True).train()
    assert saved(cfg)["model_best"] == (0, 50.0)
    toy_trainer(cfg, [60.0], epochs=5, resume=True).train()
    assert saved(cfg)["model_best"] == (4, 60.0)


def test_fresh_run_ignores_the_best_model_of_an_older_one(cfg):
    toy_trainer(cfg, [50.0], epochs=1).train()
    toy_trainer(cfg, [10.0], epochs=1).train()
    assert saved(cfg)["model_best"] == (0, 10.0)


@pytest.mark.parametrize("tests", [(), ("Market1501", "Market1501")])
def test_metric_is_found_with_no_or_a_repeated_test_set(cfg, tests):
    cfg.DATASETS.TESTS = tests
    toy_trainer(cfg, [50.0], epochs=1).train()
    assert saved(cfg)["model_best"] == (0, 50.0)


def test_every_scalar_is_written_once(cfg):
    toy_trainer(cfg, [1.0, 2.0], epochs=2).train()
    assert written(cfg, "mAP") == [(1, 1.0), (3, 2.0)]
    assert [iteration for iteration, _ in written(cfg, "total_loss")] == [1, 3]
    events = EventAccumulator(cfg.OUTPUT_DIR).Reload()
    assert [(event.step, event.value) for event in events.Scalars("mAP")] == [(1, 1.0), (3, 2.0)]
    assert [event.step for event in events.Scalars("total_loss")] == [1, 3]


def test_images_still_reach_tensorboard(cfg, tmp_path):
    from fastreid.utils.events import TensorboardXWriter

    writer = TensorboardXWriter(str(tmp_path))
    with EventStorage() as storage:
        storage.put_image("person", torch.zeros(3, 4, 2))
        writer.write()
    writer.close()
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["images"] == ["person"]


def test_late_scalars_of_an_iteration_are_written(tmp_path):
    writer = JSONWriter(str(tmp_path / "metrics.json"))
    with EventStorage(7) as storage:
        storage.put_scalar("loss", 1.0)
        writer.write()
        storage.put_scalar("mAP", 2.0)
        writer.write()
        writer.write()
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert lines == [{"iteration": 7, "loss": 1.0}, {"iteration": 7, "mAP": 2.0}]


def test_an_iteration_is_printed_once(monkeypatch):
    printer = CommonMetricPrinter(max_iter=10)
    lines = []
    monkeypatch.setattr(printer.logger, "info", lines.append)
    with EventStorage() as storage:
        storage.epoch = 0
        for iteration in (0, 0, 1, 1):
            storage.iter = iteration
            printer.write()
    assert ["epoch/iter: 0/0" in line for line in lines] == [True, False]
    assert "epoch/iter: 0/1" in lines[1]


def test_profiler_writes_a_trace(tmp_path):
    profiler = hooks.AutogradProfiler(lambda trainer: trainer.iter == 1, str(tmp_path))
    profiler.trainer = type("Trainer", (), {"iter": 0})
    for profiler.trainer.iter in (0, 1):
        profiler.before_step()
        torch.ones(2).sum()
        profiler.after_step()
    assert [path.name for path in tmp_path.iterdir()] == ["profiler-trace-iter1.json"]


def test_swa_averages_the_weights(cfg):
    cfg.TEST.EVAL_PERIOD = -1
    trainer = toy_trainer(cfg, epochs=3)
    swa = hooks.SWA(swa_start=2, swa_freq=1, swa_lr_factor=1.0, eta_min=0.0)
    trainer.register_hooks([swa])
    trainer.train()
    # 6 steps, each halves the weight; averaged from the third on.
    assert trainer.model.weight.item() == pytest.approx((2**-3 + 2**-4 + 2**-5 + 2**-6) / 4)
