"""Checkpoints are whole files of plain data, and a half-loaded network never trains."""

import os
from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from mmt_plugin.engine.checkpoint import (
    CheckpointError,
    MMTCheckpointer,
    load_file,
    load_source_weights,
)
from mmt_plugin.modeling.network import build_network


class Payload:
    def __reduce__(self):
        return os.system, ("touch /tmp/should-not-exist",)


def test_pickles_that_run_code_are_refused(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"model": Payload()}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pth.*plain weights"):
        load_file(path)
    assert not os.path.exists("/tmp/should-not-exist")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "truncated"])
def test_unreadable_files_name_themselves(tmp_path, content):
    path = tmp_path / "bad.pth"
    if content == "truncated":
        torch.save({"model": torch.zeros(1000)}, path)
        content = path.read_bytes()[:500]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        load_file(path)


def test_missing_file_and_foreign_content(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_file(tmp_path / "none.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(CheckpointError, match="Tensor, not a dict"):
        load_file(tmp_path / "tensor.pth")


def test_last_checkpoint_is_named_after_the_file_is_whole(tiny_config, tmp_path, monkeypatch):
    model = build_model(tiny_config())
    checkpointer = MMTCheckpointer(model, str(tmp_path))
    checkpointer.save("first")
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpointer.save("second")
    assert Path(checkpointer.get_checkpoint_file()).name == "first.pth"


def test_loading_follows_the_number_of_classes(tiny_config, tmp_path):
    saved = build_model(tiny_config())
    saved.set_classifiers(None, 11)
    MMTCheckpointer(saved, str(tmp_path)).save("model")
    loaded = build_model(tiny_config())
    MMTCheckpointer(loaded).load(str(tmp_path / "model.pth"))
    assert loaded.num_classes == 11
    restored = loaded.state_dict()
    for name, value in saved.state_dict().items():
        assert torch.equal(value, restored[name]), name


def test_checkpoint_of_another_model_is_an_error(tiny_config, tmp_path):
    MMTCheckpointer(build_model(tiny_config(MMT__NUM_PAIRS=1)), str(tmp_path)).save("model")
    with pytest.raises(CheckpointError, match=r"MMT\.NUM_PAIRS"):
        MMTCheckpointer(build_model(tiny_config())).load(str(tmp_path / "model.pth"))


def source_file(network, folder, prefix="") -> str:
    path = folder / "source.pth"
    torch.save({"model": {prefix + key: value for key, value in network.state_dict().items()}}, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "students.0.", "teachers.0."])
def test_source_weights_from_the_host_s_and_our_own_checkpoints(tiny_config, tmp_path, prefix):
    source, network = (build_network(tiny_config()) for _ in range(2))
    source.heads.set_num_classes(5)
    network.heads.set_num_classes(3)
    load_source_weights(network, source_file(source, tmp_path, prefix))
    expected = source.state_dict()
    for name, value in network.state_dict().items():
        assert name == "heads.weight" or torch.equal(value, expected[name]), name
    assert network.heads.num_classes == 3


def test_source_weights_of_another_network_are_refused(tiny_config, tmp_path):
    source = build_network(tiny_config(MODEL__BACKBONE__DEPTH="x0_5"))
    with pytest.raises(CheckpointError, match="of another shape"):
        load_source_weights(build_network(tiny_config()), source_file(source, tmp_path))


def test_incomplete_source_weights_are_refused(tiny_config, tmp_path):
    network = build_network(tiny_config())
    state = network.state_dict()
    state.pop("heads.bottleneck.0.running_mean")
    torch.save({"model": state}, tmp_path / "partial.pth")
    with pytest.raises(CheckpointError, match=r"1 missing.*running_mean"):
        load_source_weights(network, str(tmp_path / "partial.pth"))


def test_foreign_source_weights_are_refused(tiny_config, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="holds no network"):
        load_source_weights(build_network(tiny_config()), str(tmp_path / "other.pth"))
