"""Configuration keys of the data path, and what they demand."""

from fastreid.config import CfgNode


def add_data_config(cfg: CfgNode) -> None:
    """Add the keys, with their defaults, to a fastreid config (in place)."""
    # Folder that keeps the training images decoded and resized, for this run and later ones; they take
    # 3 bytes a pixel of INPUT.SIZE_TRAIN. Empty: images are read from their files each time.
    cfg.DATALOADER.CACHE = ""


def data_rules(cfg: CfgNode) -> list[tuple[bool, str]]:
    """Each rule: whether it holds, and the sentence to say where it does not."""
    cache, size = cfg.DATALOADER.CACHE, list(cfg.INPUT.SIZE_TRAIN)
    return [
        (
            not cache or not cfg.INPUT.AUTOAUG.ENABLED,
            f"DATALOADER.CACHE is {cache!r} and INPUT.AUTOAUG.ENABLED is True, which changes images "
            "before they are resized: resized ones cannot be kept. Set one of them off",
        ),
        (
            not cache or (len(size) == 2 and min(size) > 0),
            f"DATALOADER.CACHE is {cache!r}, but INPUT.SIZE_TRAIN {size} is not height and width: images "
            "of one size are needed",
        ),
    ]
