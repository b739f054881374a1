"""Two processes train what one process trains on the same batches."""

import copy
import json
from pathlib import Path

import pytest
import torch
from two_process_training import (
    sync_images,
    sync_norm,
    synchronise_and_report,
    train_and_report,
)

from mmt_plugin.engine.hooks.label_noise import PREFIX
from mmt_plugin.modeling.layers import convert_batch_norm
from mmt_plugin.system.launch import launch

METHODS = {
    "baseline": ("plaza2metro_baseline", {}),
    "mmt": ("plaza2metro_mmt", {}),
    "mmt_plus": ("plaza2metro_mmt_plus", {}),
    "memory": (
        "plaza2metro_mmt_plus",
        {"MMT__CLASSIFIER": "memory", "MODEL__HEADS__CLS_LAYER": "Linear", "MMT__TRIPLET_GRADIENT": "anchor"},
    ),
    "hybrid": ("plaza2metro_mmt", {"MMT__CLASSIFIER": "hybrid", "MMT__MEMORY__UPDATE": "teacher"}),
}


def load(folder, rank: int):
    return torch.load(Path(folder, f"rank{rank}.pth"), weights_only=True)


def label_noise(folder) -> dict[str, float]:
    """The records of wrong labels, of the one epoch that has them."""
    lines = map(json.loads, Path(folder, "metrics.json").read_text().splitlines())
    return {name: line[name] for line in lines for name in line if name.startswith(PREFIX)}


def test_two_processes_train_as_one(tiny_config, tmp_path, soak):
    """On 63 images, which leave one rank with fewer to extract and to evaluate.

    Both ranks end equal. After one step, they have what a single process has that normalises in the same
    chunks (later, untrained networks magnify rounding).
    """

    methods = METHODS if soak else {name: METHODS[name] for name in ("mmt", "mmt_plus", "memory")}

    def configs(kind: str, epochs: int) -> list:
        return [
            tiny_config(
                recipe,
                **overrides,
                OUTPUT_DIR=str(tmp_path / kind / name),
                SYNTHETIC__TRAIN_IDS=9,
                SYNTHETIC__TRAIN_IMAGES_PER_ID=7,
                SOLVER__MAX_EPOCH=epochs,
                SOLVER__ITERS_PER_EPOCH=1,
                TEST__EVAL_PERIOD=epochs,
                MMT__IMAGES_PER_BN=4,
                MMT__MOCO__QUEUE_SIZE=20,
                MMT__SOURCE__PRETRAIN=False,
                # Its step is the gradient; Adam makes steps of full size of rounding where gradients vanish.
                SOLVER__OPT="SGD",
                SOLVER__BASE_LR=0.01,
                REPORT__LABEL_NOISE=True,
            )
            for name, (recipe, overrides) in methods.items()
        ]

    one_step, two_epochs = configs("step", 1), configs("run", 2)
    launch(train_and_report, 2, args=(one_step + two_epochs,), device="cpu")
    alone = configs("alone", 1)
    train_and_report(alone)

    for cfg in one_step + two_epochs:
        first, second = (load(cfg.OUTPUT_DIR, rank) for rank in (0, 1))
        assert torch.equal(first["labels"], second["labels"])
        assert first["model"].keys() == second["model"].keys()
        for key, value in first["model"].items():
            assert torch.equal(value, second["model"][key]), (cfg.OUTPUT_DIR, key)
        assert second["metrics"] == {}
    for name, together, single in zip(methods, one_step, alone, strict=True):
        noise = label_noise(single.OUTPUT_DIR)
        assert noise["label_noise/wrong"] > 0
        assert label_noise(together.OUTPUT_DIR) == pytest.approx(noise, abs=1e-4), name
        together, single = load(together.OUTPUT_DIR, 0), load(single.OUTPUT_DIR, 0)
        assert torch.equal(together["labels"], single["labels"])
        has_queues = METHODS[name][0] == "plaza2metro_mmt_plus"
        assert any(key.startswith("queues") for key in single["model"]) == has_queues
        for key, value in together["model"].items():
            torch.testing.assert_close(
                value, single["model"][key], atol=1e-4, rtol=1e-3, msg=lambda m, k=(name, key): f"{k}: {m}"
            )
        assert together["metrics"] == pytest.approx(single["metrics"], abs=0.1), name


def test_synchronised_layers_and_gathered_batches(tmp_path):
    launch(synchronise_and_report, 2, args=(str(tmp_path),), device="cpu")
    whole = torch.nn.BatchNorm2d(3)
    whole.weight.data.copy_(sync_norm().weight.data)
    x = sync_images().requires_grad_()
    (copy.deepcopy(whole)(x) * sync_images(seed=1)).sum().backward()
    single = convert_batch_norm(whole)
    (single(sync_images()) * sync_images(seed=1)).sum().backward()
    for rank in (0, 1):
        *normalised, gathered = load(tmp_path, rank)
        for report in normalised:
            torch.testing.assert_close(report["gradient"], x.grad.chunk(2)[rank], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(report["weight"], single.weight.grad, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(report["variance"], single.running_var)
        assert torch.equal(gathered["gathered"], sync_images())
        # Summed over the two processes' losses, each of which is of the whole batch.
        torch.testing.assert_close(gathered["gradient"], 2 * sync_images(seed=1).chunk(2)[rank])
