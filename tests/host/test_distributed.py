"""Several processes without a GPU."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from fastreid import engine
from fastreid.engine import DefaultTrainer, defaults
from fastreid.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from two_process_run import train_and_report

from mmt_plugin.system import launch as launching
from mmt_plugin.system.launch import launch


@pytest.fixture
def group_of_one(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting_point", world_size=1, rank=0)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_two_processes_train_alike_and_score_what_they_save(cfg):
    cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH = 0.01, 1
    engine.launch(train_and_report, 2, args=(cfg,))
    reports = [json.loads((Path(cfg.OUTPUT_DIR) / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert [report["local_rank"] for report in reports] == [0, 1]
    assert all(report["backend"] == "gloo" and report["is_ddp"] and report["trained"] for report in reports)
    assert reports[0]["checksum"] == reports[1]["checksum"]
    # The last thing a run does is evaluate, for which all ranks take over rank 0's batch-norm statistics.
    assert reports[0]["buffers"] == reports[1]["buffers"]
    assert reports[1]["mAP"] is None
    # The loader's rank sees the first half of 24 test images.
    assert reports[0]["images"] == 12

    cfg.MODEL.HEADS.NUM_CLASSES = 8
    model = DefaultTrainer.build_model(cfg)
    checkpoint = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    model.load_state_dict(checkpoint["model"])
    assert DefaultTrainer.test(cfg, model)["mAP"] == pytest.approx(reports[0]["mAP"], abs=1e-3)


def test_one_process_is_not_launched_but_called():
    calls = []
    launch(lambda *args: calls.append(args), 1, args=(1, 2))
    assert calls == [(1, 2)]
    assert engine.launch is launch


def test_processes_started_by_torchrun_join_their_group(monkeypatch):
    joined = []
    monkeypatch.setattr(launching, "_run_rank", lambda *args: joined.append(args))
    for name, value in (
        *(("TORCHELASTIC_RUN_ID", "run"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "2")),
        *(("GROUP_RANK", "1"), ("LOCAL_RANK", "0")),
    ):
        monkeypatch.setenv(name, value)
    launch(print, 1, args=("hello",), device="cpu")
    assert joined == [(0, print, 4, 2, 1, "env://", "cpu", ("hello",))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_gpus_per_machine": 2, "device": "cuda"}, "2 processes.*need as many GPUs.*MODEL.DEVICE cpu"),
        ({"num_gpus_per_machine": 1, "num_machines": 2, "device": "cpu"}, "--dist-url"),
    ],
)
def test_impossible_launches_are_refused(monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ValueError, match=message):
        launch(print, **arguments)


@pytest.mark.usefixtures("group_of_one")
def test_cpu_model_is_wrapped_without_device_ids():
    model = defaults.DistributedDataParallel(nn.Linear(1, 1), device_ids=[0], broadcast_buffers=False)
    assert type(model) is DistributedDataParallel
    assert model.device_ids is None
    assert not model.broadcast_buffers


@pytest.mark.usefixtures("group_of_one")
def test_a_left_group_is_forgotten():
    comm._LOCAL_PROCESS_GROUP = comm._get_global_gloo_group()
    launching.leave_process_group()
    assert comm._LOCAL_PROCESS_GROUP is None
    assert comm._get_global_gloo_group.cache_info().currsize == 0
    assert not dist.is_initialized()
