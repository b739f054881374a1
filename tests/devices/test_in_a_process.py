"""The tests on a second device, in a process of their own: torch counts the devices at its first backward."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import second_device

HERE = Path(__file__).parent


@pytest.mark.skipif(not second_device.AVAILABLE, reason=second_device.MISSING)
def test_everything_runs_on_a_second_device():
    files = sorted(HERE.parent.rglob("on_*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--no-cov", "-p", "no:cacheprovider", *files]
    ended = subprocess.run(
        command, env={**os.environ, "SECOND_DEVICE": "1"}, capture_output=True, text=True, cwd=HERE.parents[1]
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
