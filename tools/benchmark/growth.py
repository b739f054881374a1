"""How an epoch's cost beside the networks' grows with the images of a set, its clusters, and the batch.

Shapes: N images, C clusters, D feature size, B batch.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from fastreid.config import CfgNode
from tabulate import tabulate

from mmt_plugin.config import load_config
from mmt_plugin.data.build import LabelledLoader, build_train_loader
from mmt_plugin.data.samplers import IdentityBatchSampler
from mmt_plugin.modeling.losses import label_smooth_cross_entropy, soft_cross_entropy
from mmt_plugin.pseudo_labels import PseudoLabels, cluster, label_free_quality
from mmt_plugin.pseudo_labels.timing import Stages

from .data import write_images
from .epoch import give_gradients, start
from .features import clustered_features
from .measure import seconds
from .ready_trainer import ReadyTrainer, ready_trainer

CONFIG = "configs/synthetic/plaza2metro_mmt.yml"
# About the built-in world's, Market-1501's and MSMT17's training images, and more than any published set's.
IMAGES = (2_000, 13_000, 33_000, 100_000)
BATCHES = (64, 128, 256, 512)
# What the first clustering in a process has to compile.
WARM_UP = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", default=CONFIG, help="recipe, for its networks, labels and batches")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="N")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="B, at the largest N")
    parser.add_argument(
        "--repeats", type=int, default=3, help="measurements of what is short, for the median"
    )
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides")


def run(arguments: argparse.Namespace) -> None:
    """Print a table of stages against N, with the power of N that they grow by, and one against B."""
    cfg = load_config(arguments.config_file, arguments.opts)
    columns = []
    with ready_trainer(cfg, classes=10) as trainer:
        give_gradients(trainer)
        size = trainer.raw_model.students[0].heads.weight.shape[1]
        cluster(clustered_features(WARM_UP, size)[0], cfg)
        for count in arguments.images:
            columns.append(costs(trainer, count, size, arguments.repeats))
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    for row in rows[1:]:
        row.append(growth(arguments.images, row[1:]))
    print(f"\nMilliseconds of an epoch, one pass over N images, beside the networks' own: D = {size}\n")
    headers = ["", *(f"N = {count:,}" for count in arguments.images), "grows as N to the"]
    print(tabulate(rows, headers=headers, tablefmt="github", floatfmt=".1f"))

    largest = arguments.images[-1]
    print(f"\nBatches of one pass over N = {largest:,} images drawn\n")
    rows = [[batch, *drawing(cfg, largest, batch, arguments.repeats)] for batch in arguments.batches]
    print(tabulate(rows, headers=["B", "ms", "microseconds an image"], tablefmt="github", floatfmt=".1f"))


def costs(trainer: ReadyTrainer, num_images: int, size: int, repeats: int) -> dict[str, float]:
    """Clusters, and milliseconds of each stage of an epoch of N images, features N x D, by name."""
    cfg, stages = trainer.cfg, Stages()
    features, _, cameras = clustered_features(num_images, size)
    found = cluster(features, cfg, cameras=cameras, stages=stages)
    networks = torch.from_numpy(features).expand(cfg.MMT.NUM_PAIRS, -1, -1).numpy()
    with stages.stage("label quality"):
        label_free_quality(found, features, networks, previous=found, cameras=cameras)
    turns = [epoch_start(trainer, found, features, cameras) for _ in range(repeats)]
    shortest = {name: median(turn[name] for turn in turns) for name in turns[0]}
    classifier = median(seconds(lambda: classifier_step(trainer), "cpu") for _ in range(repeats))
    spent = {
        **stages.seconds,
        **shortest,
        "hand-over: new labels until the first batch": hand_over(cfg, num_images, repeats),
        "a step's classifiers and their losses": classifier,
    }
    return {"clusters": found.num_clusters} | {name: 1000 * value for name, value in spent.items()}


def epoch_start(
    trainer: ReadyTrainer, found: PseudoLabels, features: np.ndarray, cameras: np.ndarray
) -> dict[str, float]:
    """Seconds of what follows a clustering; the centroids are part of the clustering."""
    turn = start(trainer, one_pass(trainer.cfg, cameras), found.labels, features)
    return {name: value for name, value in turn.items() if name != "centroids"}


def classifier_step(trainer: ReadyTrainer) -> None:
    """Logits over the live classes and the classification losses of a batch, forward and backward."""
    networks = trainer.raw_model
    weights = [network.heads.weight for network in (*networks.students, *networks.teachers)]
    classes, size = weights[0].shape
    features = torch.randn(trainer.cfg.SOLVER.IMS_PER_BATCH, size, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(len(features)) % classes
    logits = [features @ weight.t() for weight in weights]
    students, teachers = logits[: len(networks.students)], logits[len(networks.students) :]
    loss = sum(
        label_smooth_cross_entropy(student, targets, 0.1) + soft_cross_entropy(student, teacher.detach())
        for student, teacher in zip(students, reversed(teachers), strict=False)
    )
    torch.autograd.grad(loss, weights[: len(students)])


def hand_over(cfg: CfgNode, num_images: int, repeats: int) -> float:
    """Median seconds from new labels for N images to the first batch, by workers that are running already."""
    cfg = cfg.clone()
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 1, "SOLVER.ITERS_PER_EPOCH", 2])
    with tempfile.TemporaryDirectory() as folder:
        ((path, *_),) = write_images(Path(folder), 1, 128, 64)
        loader = build_train_loader(cfg, [(path, 0, i % 6) for i in range(num_images)])
        labels = np.arange(num_images) // 17
        try:
            return median(list(_hand_overs(loader, labels, repeats + 1))[1:])
        finally:
            loader.close()


def _hand_overs(loader: LabelledLoader, labels: np.ndarray, epochs: int) -> Iterator[float]:
    for epoch in range(epochs):
        begin = time.perf_counter()
        loader.set_labels(labels)
        batches = loader.epoch(epoch)
        next(batches)
        yield time.perf_counter() - begin
        for _ in batches:
            pass


def drawing(cfg: CfgNode, num_images: int, batch: int, repeats: int) -> tuple[float, float]:
    """Milliseconds to draw the batches of B images of one pass over N, and microseconds an image."""
    cfg = cfg.clone()
    cfg.SOLVER.IMS_PER_BATCH = batch
    sampler = one_pass(cfg, np.arange(num_images) % 6)
    sampler.set_labels(np.arange(num_images) // 17)
    taken = median(seconds(lambda: list(sampler), "cpu") for _ in range(repeats))
    return 1e3 * taken, 1e6 * taken / (batch * len(sampler))


def one_pass(cfg: CfgNode, cameras: np.ndarray) -> IdentityBatchSampler:
    """The batches of an epoch that draws as many images as there are."""
    batch = cfg.SOLVER.IMS_PER_BATCH
    return IdentityBatchSampler(
        cameras, batch, cfg.DATALOADER.NUM_INSTANCE, len(cameras) // batch, seed=cfg.SEED
    )


def growth(counts: Sequence[int], values: Sequence[float]) -> str:
    """The power of N by which a cost grew up to the largest N, from the third last (or the first) on; "-" for
    what takes less than a millisecond.
    """
    first, last = values[-3:][0], values[-1]
    if min(first, last) < 1 or len(counts) < 2:
        return "-"
    return f"{math.log(last / first) / math.log(counts[-1] / counts[-3:][0]):.1f}"
