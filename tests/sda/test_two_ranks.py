"""Two processes train what one process trains on the same batches."""

from pathlib import Path

import torch
from two_rank_sda import train_and_report

from mmt_plugin.system.launch import launch


def test_two_processes_translate_as_one(sda_config, tmp_path):
    """Three steps with pools that are full in the second: both ranks end equal, and, but for rounding, as
    one.
    """
    settings = {
        "SOLVER__MAX_EPOCH": 1,
        "SDA__POOL_SIZE": 4,
        "SOLVER__IMS_PER_BATCH": 8,
        "SOLVER__CHECKPOINT_PERIOD": 0,
        # Adam's step is full where a gradient is nothing but rounding; a small one keeps that small.
        "SOLVER__BASE_LR": 1e-5,
    }
    together = sda_config(OUTPUT_DIR=str(tmp_path / "two"), **settings)
    launch(train_and_report, 2, args=(together,), device="cpu")
    alone = sda_config(OUTPUT_DIR=str(tmp_path / "one"), **settings)
    train_and_report(alone)
    first, second, one = (
        torch.load(Path(folder, f"rank{rank}.pth"), weights_only=True)
        for folder, rank in ((together.OUTPUT_DIR, 0), (together.OUTPUT_DIR, 1), (alone.OUTPUT_DIR, 0))
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    for name, value in one.items():
        torch.testing.assert_close(first[name], value, atol=1e-4, rtol=1e-3, msg=name)
    assert int(one["pools.to_target.stored"]) == 4
