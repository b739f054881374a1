"""Tools in processes of their own."""

import os
import subprocess
import sys

import pytest
from tiny import REPOSITORY


@pytest.fixture
def call(datasets_root):
    """Run a tool; returns the finished process with its output as text."""

    def run(tool: str, *arguments: object) -> subprocess.CompletedProcess:
        environment = {**os.environ, "FASTREID_DATASETS": str(datasets_root), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(REPOSITORY / "tools" / tool), *map(str, arguments)]
        return subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=400
        )

    return run
