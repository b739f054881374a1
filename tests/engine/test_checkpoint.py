"""Checkpoints are whole files of plain data, and a half-loaded network never trains."""

import os
import resource
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from fastreid.modeling.meta_arch import build_model

from mmt_plugin.engine.resume.checkpointer import MMTCheckpointer
from mmt_plugin.modeling.network import build_network
from mmt_plugin.runs.lock import locked
from mmt_plugin.weights.load_network import CheckpointError, load_file, load_source_weights, save_safetensors


class Payload:
    def __reduce__(self):
        return os.system, ("touch /tmp/should-not-exist",)


@pytest.mark.fault
def test_pickles_that_run_code_are_refused(tmp_path, observe):
    path = tmp_path / "evil.pth"
    torch.save({"model": Payload()}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pth.*can run code when it is unpickled") as error:
        load_file(path)
    assert not os.path.exists("/tmp/should-not-exist")
    observe("checkpoint that runs code", error.value)


@pytest.mark.fault
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "truncated"])
def test_unreadable_files_name_themselves(tmp_path, content, observe):
    path = tmp_path / "bad.pth"
    if content == "truncated":
        torch.save({"model": torch.zeros(1000)}, path)
        content = path.read_bytes()[:500]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.pth") as error:
        load_file(path)
    kind = "truncated" if len(content) == 500 else "foreign" if content else "empty"
    observe(f"checkpoint file: {kind}", error.value)


def test_missing_file_and_foreign_content(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_file(tmp_path / "none.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(CheckpointError, match="Tensor, not a dict"):
        load_file(tmp_path / "tensor.pth")


@contextmanager
def limited_file_size(size: int):
    """The operating system refuses to write files beyond a size, as on a full disk."""
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, previous[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
        signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def unprivileged():
    """Root may write anywhere; nobody may not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def saved(tmp_path):
    """A checkpointer that has saved a first checkpoint in a folder of its own."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    checkpointer = MMTCheckpointer(torch.nn.Linear(100, 100), str(folder))
    checkpointer.save("model_0000", epoch=0)
    return checkpointer


def contents(checkpointer) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(checkpointer.save_dir).iterdir()}


@pytest.mark.fault
@pytest.mark.parametrize("size", [0, 1000, 20_000, 40_000])
def test_a_full_disk_is_an_error_and_leaves_the_previous_checkpoint(saved, observe, size):
    before = contents(saved)
    for name in ("model_0000", "model_0001"):
        with limited_file_size(size), pytest.raises(OSError, match=rf"{name}.*untouched") as error:
            saved.save(name, epoch=1)
    assert contents(saved) == before
    observe(
        "disk full while a checkpoint is written", error.value, "nothing; the previous checkpoint is whole", 2
    )


@pytest.mark.fault
def test_a_folder_that_may_not_be_written_is_an_error(saved, observe):
    before = contents(saved)
    folder = Path(saved.save_dir)
    folder.chmod(0o555)
    with unprivileged(), pytest.raises(PermissionError, match=r"model_0001.*untouched") as error:
        saved.save("model_0001", epoch=1)
    folder.chmod(0o755)
    assert contents(saved) == before
    observe("no permission to write a checkpoint", error.value, "nothing; the previous checkpoint is whole")


@pytest.mark.fault
def test_the_folder_is_synced_after_a_checkpoint_has_its_name(saved, monkeypatch, observe):
    done = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append("rename") or rename(a, b))
    saved.save("model_0001", epoch=1)
    kinds = ["folder" if step == saved.save_dir else step.split(".")[-1] for step in done]
    assert kinds == ["unfinished", "rename", "folder"] * 2  # the checkpoint, then last_checkpoint
    observe(
        "power cut (order of system calls)",
        "file synced, renamed, folder synced; only then named as the last",
    )


def test_the_last_checkpoints_are_kept(saved):
    saved.keep = 2
    for epoch in range(1, 5):
        saved.save("model_best", epoch=epoch)
        saved.save(f"model_{epoch:04d}", epoch=epoch)
    saved.save("model_stopped", epoch=4)
    names = {"last_checkpoint", "model_0003.pth", "model_0004.pth", "model_best.pth"}
    assert contents(saved).keys() == names | {"model_stopped.pth"}
    assert Path(saved.get_checkpoint_file()).name == "model_stopped.pth"
    saved.save("model_final", epoch=5)
    assert contents(saved).keys() == names | {"model_final.pth"}


@pytest.mark.fault
def test_leftovers_of_a_killed_writer_are_removed(saved, observe):
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    leftover = Path(saved.save_dir, f"model_0001.pth.{ended.pid}.unfinished")
    leftover.write_bytes(b"half")
    export = Path(saved.save_dir, f"export_onnx.{ended.pid}.unfinished")
    export.mkdir()
    (export / "model.onnx").write_bytes(b"half")
    own = Path(saved.save_dir, f"results.json.{os.getpid()}.unfinished")
    own.write_bytes(b"of an earlier process of this number")
    going_on = Path(saved.save_dir, f"export_onnx.{os.getppid()}.unfinished")
    going_on.mkdir()
    with locked(saved.save_dir):
        assert not leftover.exists()
        assert not export.exists()
        assert not own.exists()
        assert going_on.exists()  # its process lives
    observe("unfinished folder of a killed export", "deleted when the run is resumed")
    observe("unfinished file of a killed process", "deleted when the run is resumed")


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


def test_weights_of_safetensors(tiny_config, tmp_path):
    """What a stranger's weights are best read from: a format that cannot hold code."""
    source, network = (build_network(tiny_config()) for _ in range(2))
    save_safetensors(source.state_dict(), tmp_path / "source.safetensors")
    load_source_weights(network, str(tmp_path / "source.safetensors"))
    expected = source.state_dict()
    for name, value in network.state_dict().items():
        assert name == "heads.weight" or torch.equal(value, expected[name]), name


@pytest.mark.fault
def test_a_damaged_file_of_safetensors_names_itself(tmp_path, observe):
    path = tmp_path / "bad.safetensors"
    save_safetensors({"weight": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match=r"bad\.safetensors") as error:
        load_file(path)
    observe("safetensors file: truncated", error.value)


@pytest.mark.fault
def test_a_run_is_not_resumed_from_weights_alone(tiny_config, tmp_path, observe):
    model = build_model(tiny_config())
    MMTCheckpointer(model, str(tmp_path)).save("model")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(CheckpointError, match="holds no optimizer") as error:
        MMTCheckpointer(model, optimizer=optimizer).load(str(tmp_path / "model.pth"))
    observe("checkpoint that holds part of a run", error.value)


@pytest.mark.fault
def test_a_checkpoint_with_more_than_the_model_is_refused(tiny_config, tmp_path, observe):
    MMTCheckpointer(build_model(tiny_config()), str(tmp_path)).save("model")
    with pytest.raises(CheckpointError, match=r"not used.*MMT\.NUM_PAIRS") as error:
        MMTCheckpointer(build_model(tiny_config(MMT__NUM_PAIRS=1))).load(str(tmp_path / "model.pth"))
    observe("checkpoint of another model", error.value)
