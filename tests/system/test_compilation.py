"""What was compiled is kept for the next process, and no process gets half of it."""

import importlib.util
import subprocess
import sys
import threading
import time
from pathlib import Path

from numba.core.caching import IndexDataCacheFile

SOURCE = """
from mmt_plugin.system.compilation import njit

@njit(cache=True)
def kernel(value):
    return value + 1
"""


def kernel_of(path: Path):
    """The compiled function, as another process would get it."""
    specification = importlib.util.spec_from_file_location("kernel", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.kernel


def test_a_reader_waits_until_code_and_index_belong_together(tmp_path, monkeypatch):
    """After the source has changed, the index is new before the code under its name is."""
    path, order, readers = tmp_path / "kernel.py", [], []
    path.write_text(SOURCE)
    save = IndexDataCacheFile._save_data

    def read() -> None:
        with kernel_of(path)._cache._alone():
            order.append("read")

    def slowly(self, name, data) -> None:
        readers.append(threading.Thread(target=read))
        readers[-1].start()
        time.sleep(0.3)
        save(self, name, data)
        order.append("written")

    monkeypatch.setattr(IndexDataCacheFile, "_save_data", slowly)
    assert kernel_of(path)(1) == 2
    for reader in readers:
        reader.join()
    assert order == ["written", "read"]


def test_functions_are_loaded_by_the_next_process(tmp_path):
    (tmp_path / "kernel.py").write_text(SOURCE)
    code = """
from kernel import kernel
from numba.core.bytecode import FunctionIdentity
kernel(3)
print(sum(kernel.stats.cache_hits.values()), FunctionIdentity.from_function(kernel.py_func).unique_id)
"""
    environment = {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}
    found = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    (first_hits, first_name), (second_hits, second_name) = (line.split() for line in found)
    assert (first_hits, second_hits) == ("0", "1")
    # Parts that two processes have compiled never share a name.
    assert abs(int(first_name) - int(second_name)) > 1_000_000
