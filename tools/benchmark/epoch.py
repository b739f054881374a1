"""What the start of an epoch costs once its labels are found.

Shapes: N images, C clusters, D feature size.
"""

import argparse
from statistics import median

import numpy as np
import torch
from tabulate import tabulate

from mmt_plugin.config import load_config
from mmt_plugin.data.samplers import IdentityBatchSampler
from mmt_plugin.pseudo_labels import PseudoLabels

from .features import CAMERAS, clustered_features
from .measure import seconds
from .ready_trainer import ReadyTrainer, ready_trainer

CONFIG = "configs/mmt/market2duke.yml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this measurement's options to a command line."""
    parser.add_argument("--config-file", default=CONFIG, help="recipe, for its networks and batches")
    parser.add_argument("--images", type=int, default=12936, help="N")
    parser.add_argument("--clusters", type=int, default=700, help="C")
    parser.add_argument("--repeats", type=int, default=5, help="starts, of which the median counts")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides")


def run(arguments: argparse.Namespace) -> None:
    """Print one table: a row a stage."""
    cfg = load_config(arguments.config_file, arguments.opts)
    rng = np.random.default_rng(0)
    with ready_trainer(cfg, classes=10) as trainer:
        size = trainer.raw_model.students[0].heads.weight.shape[1]
        features = clustered_features(arguments.images, size)[0]
        labels = rng.integers(0, arguments.clusters, arguments.images)
        cameras = rng.integers(0, CAMERAS, arguments.images)
        batches = (cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, cfg.SOLVER.ITERS_PER_EPOCH)
        sampler = IdentityBatchSampler(cameras, *batches, seed=cfg.SEED)
        give_gradients(trainer)
        turns = [start(trainer, sampler, labels, features) for _ in range(arguments.repeats)]
    rows = [[name, 1000 * median(turn[name] for turn in turns)] for name in turns[0]]
    rows.append(["together", 1000 * median(sum(turn.values()) for turn in turns)])
    print(
        f"\nStart of an epoch after its labels: N = {arguments.images:,}, C = {arguments.clusters}, "
        f"D = {size}, {len(trainer.raw_model.students)} pairs; medians of {arguments.repeats}\n"
    )
    print(tabulate(rows, headers=["stage", "ms"], tablefmt="github", floatfmt=".1f"))


def give_gradients(trainer: ReadyTrainer) -> None:
    """Zero gradients of all students, for optimiser steps without a backward pass."""
    for parameter in trainer.raw_model.students.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None


def start(
    trainer: ReadyTrainer, sampler: IdentityBatchSampler, labels: np.ndarray, features: np.ndarray
) -> dict[str, float]:
    """Seconds of each stage between N labels, of features N x D, and the first batch."""
    device = trainer.cfg.MODEL.DEVICE
    found = PseudoLabels.from_features(labels, features)
    trainer.restart_classifiers(found.centroids, found.num_clusters)
    for student in trainer.raw_model.students:
        student.heads.weight.grad = torch.zeros_like(student.heads.weight)
    first_step, later_step = (seconds(trainer.optimizer.step, device) for _ in range(2))
    return {
        "centroids": seconds(lambda: PseudoLabels.from_features(labels, features), device),
        "classifier rows of all networks": trainer.storage.latest()["classifier_seconds"][0],
        "optimiser reset": trainer.storage.latest()["optimizer_seconds"][0],
        "its moments made anew by the first step": max(first_step - later_step, 0.0),
        "labels to the sampler": seconds(lambda: sampler.set_labels(labels), device),
        "all batches of the epoch drawn": seconds(lambda: list(sampler), device),
    }
