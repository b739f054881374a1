"""What each process of `test_host_distributed.py` does; a module, so that the processes can find it."""

import json
from pathlib import Path

import torch
import torch.distributed as dist
from fastreid.data import build_reid_test_loader
from fastreid.engine import DefaultTrainer
from fastreid.utils import comm
from torch.nn.parallel import DistributedDataParallel


def train_and_report(cfg) -> None:
    """Train, check what only a rank can see, and write it to OUTPUT_DIR/rank<i>.json."""
    trainer = DefaultTrainer(cfg)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    results = trainer.train()
    parameters = [parameter.detach() for parameter in trainer.model.parameters()]
    report = {
        "backend": dist.get_backend(),
        "local_rank": comm.get_local_rank(),
        "is_ddp": isinstance(trainer.model, DistributedDataParallel),
        "trained": any(not torch.equal(a, b) for a, b in zip(before, parameters, strict=True)),
        "checksum": sum(parameter.double().sum().item() for parameter in parameters),
        "buffers": sum(buffer.double().sum().item() for buffer in trainer.model.buffers()),
        "mAP": results["mAP"] if results else None,
    }
    if comm.is_main_process():
        # The loader's process is spawned, because this one was, and must import the host anew.
        loader, _ = build_reid_test_loader(cfg, dataset_name="Market1501", num_workers=1)
        report["images"] = sum(len(batch["targets"]) for batch in loader)
    (Path(cfg.OUTPUT_DIR) / f"rank{comm.get_rank()}.json").write_text(json.dumps(report))
