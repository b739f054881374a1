"""A run that is asked to stop while it clusters or evaluates, or while it reads a batch from its workers."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmt_plugin.engine.resume.checkpointer import STOPPED
from mmt_plugin.engine.resume.stopping import StopHook, Stopped


@pytest.fixture
def saved():
    return []


@pytest.fixture
def hook(saved):
    hook = StopHook()

    def save(name, **state):
        saved.append((name, state))

    hook.trainer = SimpleNamespace(epoch=3, checkpointer=SimpleNamespace(save=save))
    return hook


def terminate_and(raised):
    """What a library does whose own code the signal falls into, after it has used a generator."""
    torch.rand(7)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        np.zeros(3).sum()  # Python calls the handler at the latest here
    except Stopped:
        raise raised from None


@pytest.mark.parametrize("raised", [Stopped(signal.SIGTERM), TypeError("no common dtype")])
def test_a_checkpoint_is_written_whatever_the_code_makes_of_the_signal(hook, saved, raised):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with pytest.raises(Stopped) as stopped, hook.listening(), hook.phase(steps=2):
        terminate_and(raised)
    assert stopped.value.exit_status == 128 + signal.SIGTERM
    assert saved == [(STOPPED, {"epoch": 2, "step": 2})]
    assert torch.equal(torch.rand(1), expected)  # as if the phase had not begun


def test_an_error_of_a_run_that_was_not_asked_to_stop_stays_an_error(hook, saved):
    with pytest.raises(TypeError, match="no common dtype"), hook.listening(), hook.phase(steps=0):
        raise TypeError("no common dtype")
    assert not saved


def batches_of_workers_that_go(error):
    """A loader whose workers get the signal as well, and are gone after the first batch."""
    yield "a batch"
    os.kill(os.getpid(), signal.SIGTERM)
    raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid(s) 1) exited unexpectedly"),
        ConnectionResetError(104, "Connection reset by peer"),
        EOFError(),
    ],
)
def test_a_checkpoint_is_written_whatever_reading_from_a_worker_that_is_gone_raises(hook, saved, error):
    hook.trainer.steps_done = 1
    with hook.listening():
        batches = hook.until_stopped(batches_of_workers_that_go(error))
        assert next(batches) == "a batch"
        with pytest.raises(Stopped) as stopped:
            next(batches)
    assert stopped.value.exit_status == 128 + signal.SIGTERM
    assert saved == [(STOPPED, {"epoch": 2, "step": 1})]


def test_an_error_of_the_loader_of_a_run_that_was_not_asked_to_stop_stays_an_error(hook, saved):
    def broken():
        yield "a batch"
        raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.raises(ConnectionResetError), hook.listening():
        list(hook.until_stopped(broken()))
    assert not saved
