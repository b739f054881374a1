"""Images a second of feature extraction beside the bare backbones', by batch size."""

import argparse
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import build_model
from tabulate import tabulate

from mmt_plugin.config import load_config
from mmt_plugin.engine.features import extract_features
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.memory import keep_freed_memory

from .measure import seconds

SMALL, LARGE = "configs/synthetic/plaza2metro_mmt.yml", "configs/mmt/market2duke.yml"
HEADERS = ["network, image", "batch", "bare backbones, images/s", "extraction, images/s", "ratio"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this measurement's options to a command line."""
    parser.add_argument(
        "--config-files", nargs="+", default=[SMALL, LARGE], help="recipes, for their networks"
    )
    parser.add_argument("--images", type=int, nargs="+", default=[512, 64], help="images, for each recipe")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32, 64, 128, 256], help="batch sizes")
    parser.add_argument("--repeats", type=int, default=3, help="passes, of which the median counts")
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides for all")


def run(arguments: argparse.Namespace) -> None:
    """Print one table: a row a network and batch size. The loader is left out: its batches are ready."""
    rows = []
    for file, images in zip(arguments.config_files, arguments.images, strict=True):
        cfg = load_config(file, arguments.opts)
        name = f"{cfg.MODEL.BACKBONE.NAME.split('_')[1]} {cfg.MODEL.BACKBONE.DEPTH}, {cfg.INPUT.SIZE_TEST}"
        batches = [size for size in arguments.batches if size <= images]
        rows += [[name, *row] for row in measure(cfg, images, batches, arguments.repeats)]
    print(f"\nFeatures of both teachers, medians of {arguments.repeats}\n")
    print(tabulate(rows, headers=HEADERS, tablefmt="github", floatfmt=("", ".0f", ".1f", ".1f", ".2f")))


def measure(cfg: CfgNode, images: int, batches: list[int], repeats: int) -> list[list[float]]:
    """For each batch size: images a second of the bare backbones, of the extraction, and their ratio, the
    median over turns that alternate.
    """
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    device = resolve_device(cfg)
    keep_freed_memory(device)
    torch.manual_seed(0)
    model = build_model(cfg).to(device).eval()
    pixels = 255 * torch.rand(images, 3, *cfg.INPUT.SIZE_TEST)
    ready = model.normalize(pixels)

    @torch.inference_mode()
    def backbones(size: int) -> None:
        for network in model.inference_networks:
            for batch in ready.split(size):
                F.adaptive_avg_pool2d(network.backbone(batch), 1)

    rows = []
    for size in batches:
        actions = [partial(backbones, size), partial(extract_features, model, pixels.split(size))]
        turns = [[seconds(action, device) for action in actions] for _ in range(repeats + 1)][1:]
        bare, ours = (images / median(turn[k] for turn in turns) for k in range(2))
        rows.append([size, bare, ours, median(turn[0] / turn[1] for turn in turns)])
    return rows
