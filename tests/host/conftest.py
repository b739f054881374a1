"""A host config that trains on a miniature Market-1501 in seconds."""

from pathlib import Path

import pytest
from fastreid.config import get_cfg
from fastreid.utils.env import seed_all_rng
from miniature_market import write_market

import mmt_plugin  # noqa: F401  (repairs the host)


@pytest.fixture(scope="session")
def market_root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    write_market(root)
    return root


@pytest.fixture
def cfg(market_root, tmp_path, monkeypatch):
    """OSNet x0.25 on the miniature, 2 epochs of 2 iterations, on the CPU, without loader processes."""
    seed_all_rng(0)
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_osnet_backbone"
    cfg.MODEL.BACKBONE.DEPTH = "x0_25"
    cfg.MODEL.BACKBONE.FEAT_DIM = 128
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.WITH_BNNECK = True
    cfg.MODEL.LOSSES.NAME = ("CrossEntropyLoss", "TripletLoss")
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [64, 32]
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("Market1501",)
    cfg.DATALOADER.SAMPLER_TRAIN = "NaiveIdentitySampler"
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 16
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SOLVER.MAX_EPOCH = 2
    cfg.SOLVER.CHECKPOINT_PERIOD = 1
    cfg.TEST.EVAL_PERIOD = 1
    cfg.TEST.IMS_PER_BATCH = 8
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    Path(cfg.OUTPUT_DIR).mkdir()
    return cfg
