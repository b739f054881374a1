"""Shared fixtures: a tiny built-in world, tiny configs, runs that are cut off."""

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import second_device
import torch
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin import data
from mmt_plugin.commands.line import main
from mmt_plugin.config import load_config
from mmt_plugin.engine import MMTTrainer


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors are fastest, and their sums reproducible, on one thread."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_closed_logs():
    """fastreid's handlers outlive the test that made them, with the stream that it captured."""
    for name in list(logging.Logger.manager.loggerDict):
        for handler in list(logging.getLogger(name).handlers):
            if getattr(getattr(handler, "stream", None), "closed", False):
                logging.getLogger(name).removeHandler(handler)


@pytest.fixture(scope="session")
def sim() -> str:
    """The name of a second device, for MODEL.DEVICE. torch has to know of it before its first backward."""
    assert os.environ.get("SECOND_DEVICE"), "tests/devices/test_in_a_process.py runs these"
    return second_device.install()


@pytest.fixture(scope="session")
def datasets_root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture
def tiny_config(datasets_root, monkeypatch, tmp_path):
    """A function: config name under configs/synthetic and overrides -> a config that trains in a second."""
    monkeypatch.setenv("FASTREID_DATASETS", str(datasets_root))

    def make(name: str = "plaza2metro_mmt", **overrides):
        settings = {
            **TINY,
            "OUTPUT_DIR": str(tmp_path / "run"),
            **{k.replace("__", "."): v for k, v in overrides.items()},
        }
        cfg = load_config(REPOSITORY / "configs" / "synthetic" / f"{name}.yml", as_options(settings))
        data.configure(cfg)
        return cfg

    yield make
    data.configure(load_config(REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml"))


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        status: its exit status.
        out, err: what it printed.
    """

    status: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch, capsys):
    """A function: a verb and its words -> how the command ended, called in this process."""
    # They would give fastreid's logger handlers that outlive the test.
    monkeypatch.setattr("fastreid.utils.logger.setup_logger", lambda *_, **__: None)
    monkeypatch.setattr("mmt_plugin.commands.job.set_up", lambda *_, **__: None)

    def call(verb: str, *words: object) -> Ended:
        capsys.readouterr()
        try:
            status = main([verb, *map(str, words)])
        except SystemExit as stop:  # argparse's
            status = stop.code
        return Ended(status, *capsys.readouterr())

    return call


@pytest.fixture
def observe(record_property):
    """A function that tells the table of faults (docs/faults.md) what a test injected, what happened, and
    what was lost. An error stands for its message.
    """

    def tell(fault: str, happened: str | BaseException, lost: str = "nothing", times: int = 1) -> None:
        record_property("fault", [fault, times, str(happened), lost])

    return tell


@pytest.fixture
def soak(request) -> bool:
    """Whether faults are to be injected as often as `make soak` does."""
    return bool(request.config.getoption("soak", False))


class CutOffError(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture
def cut_off(monkeypatch):
    """Function of an iteration: a context in which training ends before that iteration."""

    @contextmanager
    def cut_off_at(iteration):
        step = MMTTrainer.run_step

        def interrupted(self):
            if self.iter == iteration:
                raise CutOffError
            step(self)

        with monkeypatch.context() as patch:
            patch.setattr(MMTTrainer, "run_step", interrupted)
            with pytest.raises(CutOffError):
                yield

    return cut_off_at
