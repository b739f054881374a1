"""What each rank of tests/sda/test_two_ranks.py does; a module, so that the processes can find it."""

from contextlib import closing
from pathlib import Path

import torch
from fastreid.utils import comm

from mmt_plugin import synthetic
from mmt_plugin.sda.translation_trainer import SDATrainer


def train_and_report(cfg) -> None:
    """Train, and save the model that this rank ends with."""
    torch.set_num_threads(1)
    synthetic.configure(cfg)
    with closing(SDATrainer(cfg)) as trainer:
        trainer.resume_or_load(resume=False)
        trainer.train()
        model = trainer.raw_model.state_dict()
        torch.save(model, Path(cfg.OUTPUT_DIR, f"rank{comm.get_rank()}.pth"))
