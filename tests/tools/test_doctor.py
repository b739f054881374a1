"""The doctor on a healthy machine, and on broken ones."""

import subprocess
import sys

import miniature
import pytest
from tiny import REPOSITORY

from mmt_plugin.commands import doctor

TOOL = REPOSITORY / "tools" / "doctor.py"
# A machine without some modules and distributions, named on the command line.
WITHOUT = """
import importlib.abc, importlib.metadata, runpy, sys

missing = sys.argv[1].split(",")

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
version = importlib.metadata.version

def version_of_what_is_there(name):
    if name in missing:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = version_of_what_is_there
tool, sys.argv = sys.argv[2], ["doctor.py"]
runpy.run_path(tool, run_name="__main__")
"""


def without(*names: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WITHOUT, ",".join(names), str(TOOL)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_healthy_machine(command, tmp_path, monkeypatch):
    miniature.write_market(tmp_path)
    (tmp_path / "veri").mkdir()
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    out = command("doctor").out
    assert "! " not in out
    assert "MODEL.DEVICE auto" in out
    assert "threads" in out
    assert "Market1501             24 training, 4 query, 12 gallery images" in out
    assert f"- DukeMTMC               not found: {tmp_path}/DukeMTMC-reID" in out
    assert f"not found: {tmp_path}/veri/image_train" in out
    assert "export FASTREID_DATASETS=" in out
    assert "SynthMetro             built in" in out
    assert "Training can work" in out


def test_every_data_set_of_a_recipe_is_looked_for():
    assert set(miniature.WRITERS) <= set(doctor.dataset_names())


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        (("fastreid",), "pip install --no-deps fastreid==1.4.0"),
        (("torch", "torchvision"), "pip install 'torch>=2.6'"),
        (("faiss", "faiss-cpu"), "pip install faiss-cpu"),
    ],
)
def test_without_what_training_needs(missing, remedy):
    done = without(*missing)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert f"! {missing[0]}" in done.stdout
    assert remedy in done.stdout
    assert "Training cannot work" in done.stdout.splitlines()[-1]


def test_what_is_too_old_is_named_with_its_remedy(monkeypatch, capsys):
    versions = {"fastreid": "1.3.0", "torch": "1.13.1+cu117", "numpy": None, "onnx": None}
    real = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda name: versions.get(name, real(name)))
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (99, 1))
    report = doctor.Report()
    doctor.check_packages(report)
    out = capsys.readouterr().out
    assert "install Python 99.1 or later" in out
    assert "pip install --no-deps fastreid==1.4.0" in out
    assert "1.13.1+cu117 is too old" in out
    assert "pip install 'numpy>=1.24.2'" in out
    assert "- onnx " in out
    assert report.fatal == 4
