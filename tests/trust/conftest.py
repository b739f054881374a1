"""A reference run that nothing interrupts, shared by the tests that compare with it."""

from pathlib import Path

import pytest
from killed_runs import Run


@pytest.fixture(scope="session")
def reference(tmp_path_factory, datasets_root) -> Run:
    """A finished run; its ``seconds`` are those from its first line to its last."""
    run = Run(tmp_path_factory.mktemp("reference") / "run", datasets_root)
    run.wait_for("Rank of current process")
    run.started()
    run.finish()
    run.finished()
    return run


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run"
