"""Runs that are cut off."""

from contextlib import contextmanager

import pytest

from mmt_plugin.engine import MMTTrainer


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
