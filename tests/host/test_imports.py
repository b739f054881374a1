"""The host imports, once, in the right version, and nothing old is left behind."""

import collections
import re
import sys
from importlib import metadata

import pytest
from fastreid.config import get_cfg
from fastreid.engine import defaults
from fastreid.solver import build_optimizer

from mmt_plugin import host
from mmt_plugin.errors import ConfigError
from mmt_plugin.host import host_version
from mmt_plugin.host_parts import PARTS
from mmt_plugin.system import devices


def test_stand_ins_exist_only_while_importing():
    assert "torch._six" not in sys.modules
    assert not hasattr(collections, "Mapping")


def test_repairing_twice_changes_nothing():
    before = (build_optimizer, defaults.build_optimizer, dict(vars(defaults)))
    host.repair(PARTS)
    assert before == (build_optimizer, defaults.build_optimizer, dict(vars(defaults)))


@pytest.mark.parametrize("installed", ["1.3.0", None])
def test_wrong_or_missing_host_is_named_with_the_command(monkeypatch, installed):
    def find(name):
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(metadata, "version", find)
    with pytest.raises(ImportError, match=re.escape("pip install --no-deps fastreid==1.4.0")) as error:
        host_version.check()
    assert "\n" not in str(error.value)


def test_torch_that_is_too_old_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(metadata, "version", {"fastreid": "1.4.0", "torch": "2.4.1+cpu"}.get)
    with pytest.raises(
        ImportError, match=r"torch 2\.6 or later, but 2\.4\.1\+cpu.*pip install 'torch>=2\.6'"
    ):
        host_version.check()


@pytest.mark.parametrize("cuda", [True, False])
def test_auto_device(monkeypatch, cuda):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4 * cuda)
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "auto"
    cfg.freeze()
    assert devices.resolve_device(cfg) == cfg.MODEL.DEVICE == ("cuda" if cuda else "cpu")
    assert cfg.is_frozen()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cuda:3"
    if cuda:
        assert devices.resolve_device(cfg) == "cuda:3"
    else:
        with pytest.raises(ConfigError, match="'cuda:3', but torch finds 0 CUDA devices"):
            devices.resolve_device(cfg)


@pytest.mark.parametrize(
    ("configured", "cuda", "expected"),
    [
        ("cpu", True, "cpu"),
        ("cuda", True, "cuda:1"),
        ("cuda:0", True, "cuda:0"),
        (None, True, "cuda:1"),
        ("auto", False, "cpu"),
    ],
)
def test_batches_go_where_the_config_says(monkeypatch, configured, cuda, expected):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    assert str(devices.batch_device(configured, local_rank=1)) == expected
