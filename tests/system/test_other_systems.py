"""Systems that lack POSIX modules, and places where nothing can be written."""

import subprocess
import sys

import pytest
import torch
from tiny import REPOSITORY

from mmt_plugin.modeling import build_network
from mmt_plugin.runs.run_files import FINAL_MODEL

# To the package, and to nobody else, some modules do not exist.
WITHOUT_POSIX = """
import builtins, os, sys

real = builtins.__import__
def without(name, globals=None, *args, **kwargs):
    if name in ("fcntl", "resource") and (globals or {}).get("__name__", "").startswith("mmt_plugin"):
        raise ImportError(name)
    return real(name, globals, *args, **kwargs)
builtins.__import__ = without
for name in ("posix_fallocate", "O_DIRECTORY", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)

import importlib, pkgutil, signal
del signal.SIGHUP
import numpy as np
import mmt_plugin
for module in pkgutil.walk_packages(mmt_plugin.__path__, "mmt_plugin."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

from mmt_plugin.pseudo_labels import jaccard_graph
features = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
features /= np.linalg.norm(features, axis=1, keepdims=True)
print(jaccard_graph(features, k1=5, k2=2).shape)
from mmt_plugin.runs.lock import locked
with locked(sys.argv[2]):
    pass
from mmt_plugin import FeatureExtractor
print(FeatureExtractor(sys.argv[1])([np.zeros((64, 32, 3), np.uint8)]).shape)
"""


def test_labels_and_features_without_posix_modules(tiny_config, tmp_path):
    cfg = tiny_config()
    run = tmp_path / "trained"
    run.mkdir()
    (run / "config.yaml").write_text(cfg.dump())
    weights = {f"students.0.{name}": value for name, value in build_network(cfg).state_dict().items()}
    torch.save({"model": weights}, run / FINAL_MODEL)
    command = [sys.executable, "-c", WITHOUT_POSIX, str(run), str(tmp_path / "locked")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "(40, 40)"
    assert done.stdout.splitlines()[1].startswith("torch.Size([1, ")


COMPILE = """
import sys
from numba.core import caching

if sys.argv[1] == "nowhere":  # as where neither the installation nor the home can be written
    for locator in caching.CacheImpl._locator_classes:
        locator.from_function = classmethod(lambda *_: None)
if sys.argv[1] == "full":
    def full(*_):
        raise OSError(28, "No space left on device")
    caching.IndexDataCacheFile._open_for_write = full

from mmt_plugin.system.compilation import njit

@njit(nogil=True, cache=True)
def twice(x):
    return 2 * x

@njit()
def thrice(x):
    return 3 * x

print(twice(4), thrice(5))
"""


@pytest.mark.parametrize("cache", ["nowhere", "full"])
def test_compiled_functions_need_no_cache(cache, tmp_path):
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    command = [sys.executable, str(script), cache]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "8 15", done.stderr
    assert done.stderr.count("numba cannot keep what it compiles") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
