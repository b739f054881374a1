"""Memory that is kept for the next step."""

import subprocess
import sys

import pytest
from tiny import REPOSITORY

FAULTS = """
import resource, runpy, sys
host = runpy.run_path("mmt_plugin/system/memory.py")
if sys.argv[1] == "keep":
    host["keep_freed_memory"](sys.argv[2])
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(2**26) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_there_for_the_next_step():
    def faults(how: str, device: str) -> int:
        command = [sys.executable, "-c", FAULTS, how, device]
        return int(subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout)

    before = faults("give back", "cpu")
    assert faults("keep", "cpu") < 0.1 * before
    assert faults("keep", "cuda") > 0.9 * before
