"""Files of weights are data: programs, and files that ask for more than they hold, are refused by name."""

import zipfile

import numpy as np
import pytest
import torch

from mmt_plugin.errors import UserError
from mmt_plugin.weights.checkpoint_files import load_weights


def torchscript(path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


def disguised(path):
    """A checkpoint with a program's folder put into it, which old versions of torch take for TorchScript."""
    torch.save({"w": torch.ones(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/code/__torch__.py", "pass")


def constants(path):
    torch.save({"w": torch.ones(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")


def compressed(path):
    torch.save({"w": torch.zeros(4_000_000)}, path)
    with zipfile.ZipFile(path) as stored:
        content = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


REFUSED = {
    "a TorchScript archive": (torchscript, "TorchScript archive"),
    "a checkpoint with code": (disguised, r"TorchScript archive \(it holds archive/code"),
    "a checkpoint with constants": (constants, r"TorchScript archive \(it holds archive/constants\.pkl"),
    "a compressed archive": (compressed, "no version of torch compresses weights"),
    "an expanded tensor": (
        lambda path: torch.save({"model": {"w": torch.ones(1).expand(2**31)}}, path),
        r"model\.w asks for 8,589,934,592 bytes",
    ),
    "overlapping strides": (
        lambda path: torch.save([torch.ones(2**10).as_strided((2**20, 2**10), (0, 1))], path),
        "asks for 4,294,967,296 bytes",
    ),
    "tensors that repeat a little each": (
        lambda path: torch.save({f"w{i}": torch.ones(1).expand(2**18) for i in range(8)}, path),
        "asks for",
    ),
    "a tensor without content": (
        lambda path: torch.save({"w": torch.empty(10**9, device="meta")}, path),
        "of a kind that no network",
    ),
    "a quantised tensor": (
        lambda path: torch.save({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, path),
        "of a kind that no network",
    ),
    "a sparse tensor": (lambda path: torch.save({"w": torch.eye(3).to_sparse()}, path), "sparse"),
    "a text as numpy's scalar": (lambda path: torch.save({"x": np.str_("abc")}, path), "no number"),
    "an array": (lambda path: torch.save({"x": np.ones(3)}, path), "more than tensors and plain values"),
    "an empty file": (lambda path: path.write_bytes(b""), "truncated, or no file of weights"),
    "nothing": (lambda path: None, "there is no file of weights"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(kind, tmp_path):
    write, message = REFUSED[kind]
    write(tmp_path / "given.pth")
    with pytest.raises(UserError, match=message) as error:
        load_weights(str(tmp_path / "given.pth"))
    assert "given.pth" in str(error.value)


def test_numpys_scalars_are_numbers(tmp_path):
    given = {"map": np.float64(0.71), "rank1": np.float32(0.5), "epoch": np.int64(7), "best": np.bool_(True)}
    shared = torch.arange(6.0)
    torch.save({**given, "w": shared, "tied": shared[2:], "big": np.dtype(">i2").type(3)}, tmp_path / "w.pth")
    read = load_weights(str(tmp_path / "w.pth"))
    assert {name: read[name] for name in given} == {"map": 0.71, "rank1": 0.5, "epoch": 7, "best": True}
    assert [type(read[name]) for name in given] == [float, float, int, bool]
    assert read["tied"].tolist() == [2, 3, 4, 5]
