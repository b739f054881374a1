"""A miniature Market-1501 on disk, with identities told apart by colour."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw_person(path: Path, identity: int, seed: int) -> None:
    """A 64 x 32 JPEG whose two halves have the identity's colours, under coloured light and noise."""
    colours = np.random.default_rng(identity).integers(40, 216, size=(2, 1, 1, 3))
    draw = np.random.default_rng(seed)
    light, noise = draw.integers(-90, 91, size=3), draw.integers(-20, 21, size=(2, 32, 32, 3))
    pixels = np.concatenate(list(np.clip(colours + light + noise, 0, 255))).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def write_market(folder: Path, train_ids=range(1, 9), test_ids=range(101, 107)) -> None:
    """Write Market-1501's layout: 4 images an identity for training, 1 query and 3 gallery for testing."""
    market = folder / "Market-1501-v15.09.15"
    for name, identities, cameras in (
        ("bounding_box_train", train_ids, (1, 2, 1, 2)),
        ("query", test_ids, (1,)),
        ("bounding_box_test", test_ids, (2, 3, 4)),
    ):
        (market / name).mkdir(parents=True)
        for identity in identities:
            for i, camera in enumerate(cameras):
                path = market / name / f"{identity:04d}_c{camera}s1_{i:06d}_00.jpg"
                draw_person(path, identity, seed=1000 * identity + 10 * camera + i)
