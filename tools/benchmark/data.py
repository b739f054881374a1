"""Training images a second on one core, against fastreid's transform run once a view, and the floor: to
decode and resize each image once.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.data_utils import read_image
from fastreid.data.transforms import build_transforms
from PIL import Image
from tabulate import tabulate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmt_plugin.config import load_config
from mmt_plugin.data.build import LabelledLoader, build_train_loader
from mmt_plugin.data.dataset import Item
from mmt_plugin.data.transforms import build_train_transform, seeded
from mmt_plugin.system.memory import keep_freed_memory

from .measure import seconds

DEFAULT_CONFIG = "configs/mmt/market2duke.yml"
# Height and width of the files: Market-1501's; CUHK03's, roughly; a person in front of a 1080p camera.
SIZES = ("128x64", "384x128", "512x256")
# Market-1501's files are of about this quality.
QUALITY = 90
# One pixel of the patches that the pictures are made of, and the camera's noise on top.
PATCH, NOISE = 8, 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config-file", default=DEFAULT_CONFIG, help="recipe whose training images these are"
    )
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="height x width of the image files")
    parser.add_argument("--images", type=int, default=128, help="how many files")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each way, taken in turns")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides")


def run(arguments: argparse.Namespace) -> None:
    """Print a table of speeds and one of what an image costs where."""
    torch.set_num_threads(1)
    keep_freed_memory("cpu")  # as every run does
    rows, parts = [], []
    for size in arguments.sizes:
        height, width = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            cfg = load_config(arguments.config_file, ["DATALOADER.NUM_WORKERS", 0, *arguments.opts])
            cfg.merge_from_list(["MODEL.DEVICE", "cpu", "SOLVER.ITERS_PER_EPOCH", 0])
            items = write_images(Path(folder), arguments.images, height, width)
            ways = ways_to_batches(cfg, items, Path(folder, "cache"))
            taken = in_turns(ways, arguments.rounds)
            per_image = {name: value / arguments.images for name, value in taken.items()}
            reference = per_image["fastreid's transform, once a view"]
            rows += [[size, name, 1 / value, reference / value] for name, value in per_image.items()]
            steps = in_turns(steps_of_an_image(cfg, items), arguments.rounds)
            parts.append([size, *(1e6 * value / arguments.images for value in steps.values())])
    views = cfg.MMT.NUM_PAIRS
    height, width = cfg.INPUT.SIZE_TRAIN
    print(f"\n{views} views of {height} x {width}, one core, medians of {arguments.rounds} rounds in turns\n")
    print(
        tabulate(rows, headers=["files", "way", "images/s", "x fastreid"], tablefmt="github", floatfmt=".2f")
    )
    print(f"\nMicroseconds an image, {views} views; where both have the step, this plugin first\n")
    print(tabulate(parts, headers=["files", *steps], tablefmt="github", floatfmt=".0f"))


def write_images(folder: Path, count: int, height: int, width: int) -> list[Item]:
    """JPEG files of smooth patches and noise, as large as photographs of that size; four an identity."""
    rng, items = np.random.default_rng(0), []
    for i in range(count):
        patches = rng.integers(256, size=(height // PATCH, width // PATCH, 3), dtype=np.uint8)
        smooth = Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(smooth) + rng.integers(-NOISE, NOISE + 1, size=(height, width, 3))
        path = folder / f"{i:05}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)
        items.append((str(path), i // 4, i % 4))
    return items


class OncePerView(Dataset):
    """What MMT's published code and fastreid do: each view from the file, by the whole transform."""

    def __init__(self, cfg: CfgNode, items: list[Item]):
        self.items, self.views = items, cfg.MMT.NUM_PAIRS
        self.transform = build_transforms(cfg, is_train=True)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(self.transform(read_image(self.items[index][0])) for _ in range(self.views))


def ways_to_batches(cfg: CfgNode, items: list[Item], cache: Path) -> dict[str, Callable[[], object]]:
    """By name, what gives float batches of all images once, or the part of it that nobody can avoid."""
    batch_size = cfg.SOLVER.IMS_PER_BATCH
    once_per_view = DataLoader(OncePerView(cfg, items), batch_size=batch_size, shuffle=True)
    ours, cached_cfg = _loader(cfg, items), cfg.clone()
    cached_cfg.DATALOADER.CACHE = str(cache)
    cached = _loader(cached_cfg, items)
    resize = build_train_transform(cfg, 1).resize
    return {
        "fastreid's transform, once a view": lambda: _exhaust(iter(once_per_view)),
        "mmt_plugin": lambda: _exhaust(ours.epoch(0)),
        "mmt_plugin, DATALOADER.CACHE": lambda: _exhaust(cached.epoch(0)),
        "floor: decode once, resize once": lambda: [resize(read_image(item[0])) for item in items],
    }


def _loader(cfg: CfgNode, items: list[Item]) -> LabelledLoader:
    loader = build_train_loader(cfg, items)
    loader.set_labels(np.array([item[1] for item in items]))
    return loader


def _exhaust(batches: Iterator) -> None:
    for _ in batches:
        pass


def steps_of_an_image(cfg: CfgNode, items: list[Item]) -> dict[str, Callable[[], object]]:
    """By name, each step, done to all images."""
    transform, host = build_train_transform(cfg, cfg.MMT.NUM_PAIRS), build_transforms(cfg, is_train=True)
    decoded = [read_image(item[0]) for item in items]
    resized = [transform.resize(picture) for picture in decoded]
    after_resize = host.transforms[1:]

    def views_by_host() -> None:
        for picture in resized:
            for _ in range(cfg.MMT.NUM_PAIRS):
                view = picture
                for step in after_resize:
                    view = step(view)

    def seeds() -> None:
        for seed in range(len(items)):
            with seeded(seed):
                pass

    return {
        "decode": lambda: [read_image(item[0]) for item in items],
        "resize": lambda: [transform.resize(picture) for picture in decoded],
        "views": lambda: [transform(picture) for picture in resized],
        "fastreid's views": views_by_host,
        "seeds": seeds,
    }


def in_turns(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each action; they take turns, so that what else the machine does hits all alike."""
    # The first turn warms up.
    turns = [{name: seconds(action, "cpu") for name, action in actions.items()} for _ in range(rounds + 1)]
    return {name: statistics.median(turn[name] for turn in turns[1:]) for name in actions}
