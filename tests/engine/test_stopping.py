"""A run that is asked to stop while it clusters or evaluates, or while it reads a batch from its workers."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmt_plugin.engine.resume.checkpointer import STOPPED
from mmt_plugin.engine.resume.stopping import StopHook, Stopped
from mmt_plugin.system.signals import leave_signals_to_the_main_process


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


def terminate_and(raised, number=signal.SIGTERM):
    """What a library does whose own code the signal falls into, after it has used a generator."""
    torch.rand(7)
    try:
        os.kill(os.getpid(), number)
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


def test_ranks_leave_a_phase_together_at_its_end(hook, saved, monkeypatch):
    """One of them alone was asked, while all of them extract features: none waits for the next iteration."""
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: 2)
    another_was_asked, done = False, []

    def work():
        torch.rand(7)
        done.append("what all do together")

    def agreed():
        hook._signal = signal.SIGTERM if another_was_asked else 0
        return another_was_asked

    monkeypatch.setattr(hook, "_agreed", agreed)
    with hook.phase(steps=0):
        work()
    assert not saved
    another_was_asked = True
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with pytest.raises(Stopped), hook.phase(steps=0):
        work()
    assert len(done) == 2
    assert saved == [(STOPPED, {"epoch": 2, "step": 0})]
    assert torch.equal(torch.rand(1), expected)


def test_a_closed_terminal_asks_to_stop_unless_it_was_to_be_ignored(hook, saved):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests run under
    hang_up = Stopped(signal.SIGHUP)
    with pytest.raises(Stopped) as stopped, hook.listening(), hook.phase(steps=1):
        terminate_and(hang_up, signal.SIGHUP)
    assert stopped.value.exit_status == 128 + signal.SIGHUP
    assert len(saved) == 1
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        with StopHook().listening():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_workers_go_on_while_their_rank_lives():
    """What torchrun and batch systems do: every process of a job is signalled."""
    loader = DataLoader(
        torch.arange(60), num_workers=1, worker_init_fn=leave_signals_to_the_main_process, prefetch_factor=1
    )
    batches = iter(loader)
    numbers = [next(batches).item()]
    worker = batches._workers[0]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(worker.pid, number)
    numbers += [batch.item() for batch in batches]
    assert numbers == list(range(60))
    del batches
    worker.join(10)
    assert worker.exitcode == 0
