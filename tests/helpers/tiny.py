"""A network and a world small enough for tests, as overrides of the recipes in configs/synthetic."""

from pathlib import Path

from mmt_plugin import synthetic
from mmt_plugin.config import load_config
from mmt_plugin.engine.pipeline import train

REPOSITORY = Path(__file__).parents[2]

TINY = {
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.DEVICE": "cpu",
    "SYNTHETIC.TRAIN_IDS": 10,
    "SYNTHETIC.TEST_IDS": 8,
    "SYNTHETIC.TRAIN_IMAGES_PER_ID": 6,
    "SYNTHETIC.TEST_IMAGES_PER_ID": 8,
    "SYNTHETIC.IMAGE_SIZE": [64, 32],
    "SYNTHETIC.NUM_WORKERS": 0,
    "PSEUDO_LABELS.METHOD": "kmeans",
    "PSEUDO_LABELS.KMEANS.NUM_CLUSTERS": 8,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 8,
    "DATALOADER.NUM_INSTANCE": 2,
    "SOLVER.ITERS_PER_EPOCH": 2,
    "SOLVER.MAX_EPOCH": 2,
    "TEST.EVAL_PERIOD": 2,
    "REPORT.ENABLED": False,
}


def as_options(settings: dict) -> list:
    return [word for item in settings.items() for word in item]


def train_tiny(folder: Path, recipe: str, **overrides: object) -> Path:
    """Train a recipe that clusters nothing for two steps into a folder, which is returned."""
    settings = {**TINY, "SOLVER.MAX_EPOCH": 1, "SOLVER.WARMUP_ITERS": 0, "OUTPUT_DIR": str(folder)}
    settings |= {"PSEUDO_LABELS.METHOD": "ground_truth", "TEST.EVAL_PERIOD": 1}
    settings |= {key.replace("__", "."): value for key, value in overrides.items()}
    cfg = load_config(REPOSITORY / "configs" / f"{recipe}.yml", as_options(settings))
    synthetic.configure(cfg)
    train(cfg, resume=False)
    return folder
