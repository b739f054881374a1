"""The command-line tools as a user calls them: in processes of their own."""

import json
import subprocess

import pytest
import torch
from tiny import REPOSITORY, TINY, as_options

SYNTHETIC = REPOSITORY / "configs" / "synthetic"
SOURCE_OPTS = ["SOLVER.ITERS_PER_EPOCH", 2, "SOLVER.MAX_EPOCH", 1, "SOLVER.IMS_PER_BATCH", 8]
SOURCE_OPTS += ["DATALOADER.NUM_INSTANCE", 2, "SOLVER.WARMUP_ITERS", 0, "TEST.EVAL_PERIOD", 1]


def tiny(**overrides) -> list:
    return as_options(
        {**TINY, "MMT.SOURCE.OPTS": SOURCE_OPTS, **{k.replace("__", "."): v for k, v in overrides.items()}}
    )


def succeeded(process: subprocess.CompletedProcess) -> str:
    assert process.returncode == 0, process.stdout[-3000:]
    return process.stdout


def test_a_plain_fastreid_recipe_trains_resumes_and_evaluates(call, tmp_path):
    options = {
        key: value for key, value in TINY.items() if key.startswith(("SYNTHETIC", "MODEL", "DATALOADER"))
    }
    options = {**options, "MODEL.BACKBONE.FEAT_DIM": 128, "SOLVER.IMS_PER_BATCH": 8, "OUTPUT_DIR": tmp_path}
    command = ["train_net.py", "--config-file", SYNTHETIC / "bagtricks_R18.yml"]
    succeeded(call(*command, *as_options({**options, "SOLVER.MAX_EPOCH": 2})))
    first = torch.load(tmp_path / "model_final.pth", weights_only=True)
    out = succeeded(call(*command, "--resume", *as_options(options)))
    assert "Starting training from epoch 2" in out
    last = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert (first["epoch"], last["epoch"]) == (1, 3)
    moved = [key for key, value in first["model"].items() if not torch.equal(value, last["model"][key])]
    assert len(moved) > 0.9 * len(first["model"])
    out = succeeded(
        call(*command, "--eval-only", *as_options({**options, "MODEL.WEIGHTS": tmp_path / "model_final.pth"}))
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    trained = [line["mAP"] for line in lines if "mAP" in line][-1]
    assert f"{trained:.2f}" in out


def test_two_processes_train_as_one(call, tmp_path):
    """Labels are made once, gradients are averaged: both processes end with the checkpointed weights."""
    out = succeeded(
        call(
            "train_net.py",
            "--config-file",
            SYNTHETIC / "plaza2metro_mmt.yml",
            "--num-gpus",
            2,
            "--dist-url",
            "auto",
            *tiny(OUTPUT_DIR=tmp_path / "run", MMT__SOURCE__PRETRAIN=False),
        )
    )
    assert "images per BN: 4" in out
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["clusters"] == 8
    assert record["metrics"]["mAP"] > 0
    end = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["model"]
    key = next(name for name in end if name.endswith("conv1.conv.weight"))
    taught = [end[f"{kind}.0.{key.split('.', 2)[2]}"] for kind in ("students", "teachers")]
    assert not torch.equal(*taught)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MMT.EMA.ALPHA", 1.0], "error: MMT.EMA.ALPHA is 1.0"),
        (
            ["MMT.WEIGHTS", ("/nowhere/a.pth", "/nowhere/b.pth")],
            "error: checkpoint '/nowhere/a.pth' does not exist",
        ),
    ],
)
def test_mistakes_end_with_one_sentence(call, tmp_path, options, message):
    process = call(
        "train_net.py",
        "--config-file",
        SYNTHETIC / "plaza2metro_mmt.yml",
        *tiny(OUTPUT_DIR=tmp_path / "run"),
        *options,
    )
    assert process.returncode == 2
    assert process.stdout.strip().splitlines()[-1].startswith(message)


def test_help_is_readable(call):
    out = succeeded(call("train_net.py", "--help"))
    assert "--config-file" in out
    assert "--resume" in out
