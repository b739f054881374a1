"""Checkpoints are complete or absent, and hold data only."""

import os

import pytest
import torch
from fastreid.utils.checkpoint import Checkpointer
from torch import nn


class RunsCode:
    def __reduce__(self):
        return (os.getcwd, ())


def test_interrupted_save_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    model = nn.Linear(1, 1)
    checkpointer = Checkpointer(model, str(tmp_path))
    checkpointer.save("model", epoch=1)
    nn.init.zeros_(model.weight)
    save = torch.save

    def break_off(data, file):
        save(data, file)
        file.truncate(100)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save("model", epoch=2)
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model.pth"]
    assert checkpointer.resume_or_load("", resume=True) == {"epoch": 1}
    assert model.weight.item() != 0


def test_checkpoints_are_loaded_as_data_only(tmp_path, monkeypatch):
    asked = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: asked.append(kwargs) or load(*args, **kwargs))
    checkpointer = Checkpointer(nn.Linear(1, 1), str(tmp_path))
    checkpointer.save("good", metric=0.5)
    assert checkpointer.load(str(tmp_path / "good.pth")) == {"metric": 0.5}
    assert [call["weights_only"] for call in asked] == [True]
    torch.save({"model": RunsCode()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth"):
        checkpointer.load(str(tmp_path / "bad.pth"))
