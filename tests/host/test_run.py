"""A plain host config trains, evaluates, resumes and predicts on the CPU."""

import json
from pathlib import Path

import pytest
import torch
from fastreid.data import build_reid_test_loader
from fastreid.engine import DefaultPredictor, DefaultTrainer


class SavingTrainer(DefaultTrainer):
    """Remembers the weights it started from."""

    @classmethod
    def build_model(cls, cfg):
        model = super().build_model(cfg)
        cls.start = {name: value.clone() for name, value in model.state_dict().items()}
        return model


@pytest.mark.parametrize(
    ("name", "depth", "channels", "flip"),
    [("osnet", "x0_25", 128, True), ("resnet", "18x", 512, False)],
)
def test_default_trainer_and_predictor(cfg, name, depth, channels, flip):
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = f"build_{name}_backbone", depth
    cfg.MODEL.BACKBONE.FEAT_DIM = channels
    cfg.TEST.FLIP.ENABLED = flip
    cfg.SOLVER.MAX_EPOCH = 1
    run = Path(cfg.OUTPUT_DIR)

    trainer = SavingTrainer(cfg)
    results = trainer.train()
    # Biases are left out: behind a dead ReLU there may be one whose gradient is zero.
    trained = {name: p for name, p in trainer.model.named_parameters() if p.dim() > 1}
    assert all(not torch.equal(p, SavingTrainer.start[name]) for name, p in trained.items())
    assert json.loads((run / "metrics.json").read_text().splitlines()[-1])["mAP"] == results["mAP"]

    cfg.SOLVER.MAX_EPOCH = 2
    resumed = SavingTrainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_epoch == 1
    assert all(torch.equal(p, dict(resumed.model.named_parameters())[name]) for name, p in trained.items())
    assert DefaultTrainer.test(resumed.cfg, resumed.model) == results
    results = resumed.train()
    assert any(
        not torch.equal(p, dict(resumed.model.named_parameters())[name]) for name, p in trained.items()
    )

    predictor_cfg = resumed.cfg.clone()
    predictor_cfg.defrost()
    predictor_cfg.MODEL.WEIGHTS = str(run / "model_final.pth")
    predictor = DefaultPredictor(predictor_cfg)
    assert DefaultTrainer.test(resumed.cfg, predictor.model) == results
    images = next(iter(build_reid_test_loader(cfg, dataset_name="Market1501")[0]))["images"]
    kept = images.clone()
    features = predictor(images)
    assert features.shape == (8, channels)
    assert torch.equal(predictor(images), features)
    assert torch.equal(images, kept)


def test_mixed_precision_config_trains_on_the_cpu(cfg):
    cfg.SOLVER.AMP.ENABLED = True
    cfg.SOLVER.MAX_EPOCH = 1
    trainer = SavingTrainer(cfg)
    assert trainer.train()["mAP"] > 0
    assert not torch.equal(trainer.model.heads.weight, SavingTrainer.start["heads.weight"])
