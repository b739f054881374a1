"""The host's trainer around a model of one weight: what is tested is the loop, not the learning."""

import torch
from fastreid.engine import DefaultTrainer
from torch import nn


class Quadratic(nn.Module):
    """One weight, pulled to 0: halved in every step at learning rate 0.25."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return {"loss": self.weight.square().sum()}


class ToyTrainer(DefaultTrainer):
    """Its evaluations return the numbers it was given, one after the other."""

    metrics = iter(())

    @classmethod
    def build_model(cls, cfg):
        return Quadratic()

    @classmethod
    def test(cls, cfg, model):
        value = next(cls.metrics)
        return {"mAP": value, "metric": value}


def toy_trainer(cfg, metrics=(), epochs=2, resume=False):
    """A trainer of 2 iterations an epoch that evaluates to `metrics`."""
    cfg.SOLVER.OPT, cfg.SOLVER.BASE_LR, cfg.SOLVER.MOMENTUM, cfg.SOLVER.WEIGHT_DECAY = "SGD", 0.25, 0.0, 0.0
    cfg.SOLVER.MAX_EPOCH = epochs
    trainer_class = type("ToyTrainer", (ToyTrainer,), {"metrics": iter(metrics)})
    trainer = trainer_class(cfg)
    if resume:
        trainer.resume_or_load(resume=True)
    return trainer
