"""A network and a world small enough for tests, as overrides of the recipes in configs/synthetic."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[1]

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
