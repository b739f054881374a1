"""A translation and encoders small enough for tests."""

from pathlib import Path

from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.config import load_config

SDA_TINY = {
    **{key: value for key, value in TINY.items() if key.startswith(("MODEL", "SYNTHETIC", "DATALOADER"))},
    "INPUT.SIZE_TRAIN": [32, 24],
    "INPUT.SIZE_TEST": [32, 24],
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.ITERS_PER_EPOCH": 3,
    "SOLVER.MAX_EPOCH": 2,
    "SDA.DECAY_EPOCHS": 1,
    "SDA.ENCODER_SIZE": [64, 32],
    "SDA.GENERATOR.WIDTH": 4,
    "SDA.GENERATOR.BLOCKS": 1,
    "SDA.DISCRIMINATOR.WIDTH": 4,
    "SDA.POOL_SIZE": 6,
    "SDA.SHEET.PERIOD": 1,
    "SDA.SHEET.IMAGES": 3,
}


def encoder_settings(dsbn: bool = False, **overrides):
    """The config of the tiny configs' encoders."""
    settings = {
        **{key: value for key, value in TINY.items() if key.startswith("MODEL")},
        "MMT.DSBN.ENABLED": dsbn,
        "MMT.JOINT.ENABLED": dsbn,
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    return load_config(REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml", as_options(settings))


def files(folder: Path) -> dict[str, bytes]:
    """Names and contents of a folder's images."""
    return {path.name: path.read_bytes() for path in folder.rglob("*.jpg")}
