"""What the keys of image translation (SDA, SPGAN) demand of each other."""

from collections.abc import Iterator

from fastreid.config import CfgNode

from .relations import Rule


def sda_rules(cfg: CfgNode) -> Iterator[Rule]:
    """Image translation."""
    sda, batch, k = cfg.SDA, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    # The side in pixels below which the strides of a discriminator or similarity network leave nothing.
    smallest = max(3 * 2**sda.DISCRIMINATOR.LAYERS, 16 if sda.METHOD == "spgan" else 0)
    yield (
        len(sda.BETAS) == 2 and all(0 <= beta < 1 for beta in sda.BETAS),
        f"SDA.BETAS is {tuple(sda.BETAS)}; it must be two numbers in [0, 1)",
    )
    yield (
        sda.DECAY_EPOCHS <= cfg.SOLVER.MAX_EPOCH,
        f"SDA.DECAY_EPOCHS is {sda.DECAY_EPOCHS}, more than SOLVER.MAX_EPOCH, which is "
        f"{cfg.SOLVER.MAX_EPOCH}",
    )
    yield (
        len(sda.ENCODER_SIZE) in (0, 2) and all(side > 0 for side in sda.ENCODER_SIZE),
        f"SDA.ENCODER_SIZE is {list(sda.ENCODER_SIZE)}; it must be [height, width] or []",
    )
    yield (
        len(cfg.INPUT.SIZE_TRAIN) == 2 and min(cfg.INPUT.SIZE_TRAIN) >= smallest,
        f"INPUT.SIZE_TRAIN is {list(cfg.INPUT.SIZE_TRAIN)}: with SDA.DISCRIMINATOR.LAYERS "
        f"{sda.DISCRIMINATOR.LAYERS} height and width must be at least {smallest}",
    )
    yield bool(cfg.DATASETS.NAMES), "DATASETS.NAMES is empty: name the source set to be translated"
    yield bool(cfg.DATASETS.TARGETS), "DATASETS.TARGETS is empty: name the domain whose style is wanted"
    yield (
        k > 0 and batch > k and batch % k == 0,
        f"SOLVER.IMS_PER_BATCH is {batch}; it must be a multiple of DATALOADER.NUM_INSTANCE, which is {k}, "
        "and more",
    )
    yield (
        sda.METHOD != "sda" or bool(sda.SOURCE_ENCODER or cfg.MMT.SOURCE.CONFIG_FILE),
        "SDA.SOURCE_ENCODER is empty, so the source encoder must be pre-trained: set "
        "MMT.SOURCE.CONFIG_FILE, or name a checkpoint",
    )
