"""Optimisers move the weights; schedules survive short runs."""

import logging

import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.engine import defaults as engine_defaults
from fastreid.solver import build_lr_scheduler, build_optimizer
from fastreid.utils.params import ContiguousParams
from torch import nn


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def steps(network, optimizer, count=3):
    """Train on fixed data; returns the norm of the first weight's gradient at every step."""
    norms = []
    for _ in range(count):
        loss = network(torch.arange(24.0).view(8, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        norms.append(network[0].weight.grad.norm().item())
        optimizer.step()
    return norms


@pytest.mark.parametrize("opt", ["SGD", "Adam"])
@pytest.mark.parametrize("clip", [False, True])
def test_flat_parameters_are_trained(cfg, network, opt, clip):
    cfg.SOLVER.OPT, cfg.SOLVER.CLIP_GRADIENTS.ENABLED = opt, clip
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer, parameters = build_optimizer(cfg, network)
    assert isinstance(parameters, ContiguousParams)
    steps(network, optimizer)
    # The bias before the batch norm has a gradient of zero.
    assert [name for name, p in network.named_parameters() if torch.equal(p, before[name])] in (
        [],
        ["0.bias"],
    )
    parameters.assert_buffer_is_valid()


def test_flat_and_separate_parameters_train_alike(cfg, network):
    cfg.SOLVER.OPT = "SGD"
    start = {name: value.clone() for name, value in network.state_dict().items()}
    separate = steps(network, build_optimizer(cfg, network, contiguous=False)[0])
    network.load_state_dict(start)
    flat = steps(network, build_optimizer(cfg, network)[0])
    assert flat == pytest.approx(separate, rel=1e-5)


def test_flat_gradients_survive_a_request_to_drop_them(cfg, network):
    optimizer, parameters = build_optimizer(cfg, network)
    steps(network, optimizer)
    optimizer.zero_grad(set_to_none=True)
    assert network[0].weight.grad.abs().sum() == 0
    parameters.assert_buffer_is_valid()


def test_the_trainers_copy_of_the_name_is_repaired_too():
    assert engine_defaults.build_optimizer is build_optimizer


def test_epoch_without_iterations_is_explained(cfg):
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.SAMPLER_TRAIN = 64, "TrainingSampler"
    with pytest.raises(ValueError, match=r"fewer images than SOLVER\.IMS_PER_BATCH, which is 64"):
        DefaultTrainer(cfg)


@pytest.mark.parametrize("warmup", [2, 10, 1000])
def test_cosine_schedule_without_an_epoch_of_its_own(cfg, monkeypatch, warmup):
    warnings = []
    monkeypatch.setattr(
        logging.getLogger("fastreid.mmt.host"), "warning", lambda *args: warnings.append(args)
    )
    cfg.SOLVER.SCHED, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_ITERS = "CosineAnnealingLR", 1, warmup
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = build_lr_scheduler(cfg, optimizer, iters_per_epoch=10)["lr_sched"]
    assert len(warnings) == 1
    optimizer.step()
    schedule.step()
    assert 0 <= optimizer.param_groups[0]["lr"] <= 0.1


def test_cosine_schedule_of_a_long_run_is_left_alone(cfg):
    cfg.SOLVER.SCHED, cfg.SOLVER.MAX_EPOCH = "CosineAnnealingLR", 5
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    assert build_lr_scheduler(cfg, optimizer, iters_per_epoch=10)["lr_sched"].T_max == 5


def test_layers_that_were_released_stay_so_after_a_resume(cfg, network):
    cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS, cfg.SOLVER.OPT = ["0"], 2, "SGD"

    def moved(optimizer) -> list[bool]:
        """Whether the first and the last layer's weights move in a step."""
        before = [network[i].weight.detach().clone() for i in (0, 2)]
        steps(network, optimizer, 1)
        return [not torch.equal(w, network[i].weight) for w, i in zip(before, (0, 2), strict=True)]

    optimizer = build_optimizer(cfg, network, contiguous=False)[0]
    assert moved(optimizer) == [False, True]
    resumed = build_optimizer(cfg, network, contiguous=False)[0]
    resumed.load_state_dict(optimizer.state_dict())
    assert [moved(resumed) for _ in range(2)] == [[False, True], [True, True]]


def test_a_cosine_that_is_resumed_for_longer_follows_the_longer_run(cfg):
    cfg.SOLVER.SCHED, cfg.SOLVER.WARMUP_ITERS = "CosineAnnealingLR", 0

    def start(epochs):
        cfg.SOLVER.MAX_EPOCH = epochs
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        return optimizer, build_lr_scheduler(cfg, optimizer, iters_per_epoch=10)["lr_sched"]

    def rates(optimizer, schedule, count):
        found = []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    stopped = start(4)
    rates(*stopped, 3)
    for epochs in (4, 8):
        resumed = start(epochs)
        for part, of_the_stopped in zip(resumed, stopped, strict=True):
            part.load_state_dict(of_the_stopped.state_dict())
        assert rates(*resumed, epochs - 3) == pytest.approx(rates(*start(epochs), epochs)[3:])
