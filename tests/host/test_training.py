"""The loop ends as it should: exceptions, finished runs, short runs, mixed precision on the CPU."""

import dataclasses
import logging

import pytest
import torch
from fastreid.engine import DefaultTrainer, HookBase
from toy_trainer import Quadratic, toy_trainer

from mmt_plugin.host import parts, training
from mmt_plugin.system import devices


class Recorder(HookBase):
    def __init__(self, failing=()):
        self.failing, self.calls = failing, []

    def before_train(self):
        self._note("before_train")

    def after_step(self):
        self._note("after_step")

    def after_train(self):
        self._note("after_train")

    def _note(self, name):
        self.calls.append(name)
        if name in self.failing:
            raise RuntimeError(f"{name} failed")


@pytest.mark.parametrize("failing", ["before_train", "after_step"])
def test_the_first_failure_is_the_one_reported(cfg, failing):
    trainer = toy_trainer(cfg)
    recorder = Recorder(failing=(failing, "after_train"))
    trainer._hooks.insert(0, recorder)
    with pytest.raises(RuntimeError, match=f"{failing} failed"):
        trainer.train()
    assert recorder.calls[-2:] == [failing, "after_train"]


def test_failure_after_training_is_reported(cfg):
    trainer = toy_trainer(cfg, [1.0, 2.0])
    trainer.register_hooks([Recorder(failing=("after_train",))])
    with pytest.raises(RuntimeError, match="after_train failed"):
        trainer.train()


def test_resuming_a_finished_run_is_harmless(cfg):
    toy_trainer(cfg, [1.0, 2.0]).train()
    trainer = toy_trainer(cfg, resume=True)
    recorder = Recorder()
    trainer.register_hooks([recorder])
    assert trainer.start_epoch == 2
    assert trainer.train() is None
    assert recorder.calls == []


def test_run_of_one_iteration(cfg):
    cfg.SOLVER.IMS_PER_BATCH = 32
    assert toy_trainer(cfg, [1.0], epochs=1).train() == {"mAP": 1.0, "metric": 1.0}


def test_run_without_test_sets(cfg):
    cfg.DATASETS.TESTS = ()
    cfg.SOLVER.MAX_EPOCH = 1
    trainer = DefaultTrainer(cfg)
    trainer._trainer.run_step = lambda: None
    assert trainer.train() == {}


def test_trainers_optimizer_can_be_replaced(cfg):
    trainer = toy_trainer(cfg)
    trainer.optimizer = replacement = torch.optim.SGD(Quadratic().parameters(), lr=1.0)
    assert trainer._trainer.optimizer is trainer.optimizer is replacement


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_mixed_precision_on_the_cpu(cfg, monkeypatch, native, dtype):
    changed = dataclasses.replace(parts.given, cpu_has_bfloat16=lambda: native)
    monkeypatch.setattr(parts, "given", changed)
    cfg.SOLVER.AMP.ENABLED = True
    trainer = toy_trainer(cfg, [1.0], epochs=1)
    seen = []

    def forward(batch):
        seen.append(torch.mm(trainer.model.weight.view(1, 1), torch.ones(1, 1)).dtype)
        return {"loss": trainer.model.weight.square().sum(), "loss_too": torch.zeros(())}

    monkeypatch.setattr(trainer.model, "forward", forward)
    assert trainer.grad_scaler is None
    trainer.train()
    assert seen == [dtype, dtype]
    assert trainer.model.weight.item() == pytest.approx(0.25)


def test_precision_on_the_cpu_is_asked_and_logged_once(monkeypatch):
    lines = []
    monkeypatch.setattr(
        logging.getLogger("fastreid.mmt.devices"), "warning", lambda text, *args: lines.append(text % args)
    )
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    devices.cpu_has_bfloat16.cache_clear()
    assert [devices.cpu_has_bfloat16() for _ in range(2)] == [False, False]
    devices.cpu_has_bfloat16.cache_clear()
    assert len(lines) == 1
    assert "float32" in lines[0]


def test_missing_evaluator_is_a_warning_where_logger_has_no_warn(cfg, monkeypatch):
    monkeypatch.delattr(logging.Logger, "warn", raising=False)
    host_logger = logging.getLogger("fastreid.engine.defaults")
    training.warn_where_logger_has_no_warn()
    try:
        lines = []
        monkeypatch.setattr(host_logger, "warn", lines.append)

        class NoEvaluator(DefaultTrainer):
            @classmethod
            def build_evaluator(cls, cfg, dataset_name, output_dir=None):
                raise NotImplementedError

        assert NoEvaluator.test(cfg, model=None) == {}
        assert len(lines) == 1
    finally:
        vars(host_logger).pop("warn", None)
