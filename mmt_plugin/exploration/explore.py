"""What `mmt explore-labels` does, from its words to the page."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode
from tabulate import tabulate

from mmt_plugin import data
from mmt_plugin.config import ConfigError, load_config
from mmt_plugin.config.architecture import check_registered
from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.dataset import DatasetError, Item
from mmt_plugin.data.items import (
    dense_ids,
    exclusive_tracklets,
    training_frames,
    training_items,
    training_tracklets,
)
from mmt_plugin.engine.trained_model import PRETRAINED
from mmt_plugin.recipes import find_recipe
from mmt_plugin.runs.run import Run, is_run
from mmt_plugin.runs.run_files import CONFIG
from mmt_plugin.system.devices import resolve_device

from .advice import doubts, next_command
from .explored_page import Explored, table_of, write_page
from .grid import Known, Setting, explore
from .views import load_networks, view_images

# The recipe that trains where the command names none, and the weights are of no adaptation.
OWN_RECIPE = "own/folder"
MIN_IMAGES = 8
# Images that this process reads itself.
FEW = 2000
SHOWN = 8


def explore_and_tell(arguments: argparse.Namespace) -> None:
    """Explore, print the best settings and what to do, and write the page.

    Raises:
        UserError: what is named is not there, or does not fit.
    """
    recipe, network_cfg, weights = _what_is_named(arguments.weights, arguments.config_file, arguments.opts)
    cfg = load_config(recipe, arguments.opts)
    if arguments.target:
        cfg.DATASETS.TARGETS = tuple(arguments.target)
    if not cfg.DATASETS.TARGETS:
        raise ConfigError("no images are named: give --target folder:/path/to/crops")
    for key in ("BACKBONE", "HEADS", "PIXEL_MEAN", "PIXEL_STD"):
        cfg.MODEL[key] = network_cfg.MODEL[key]
    cfg.INPUT.SIZE_TEST = network_cfg.INPUT.SIZE_TEST
    resolve_device(cfg)
    check_registered(cfg, inference=True)
    data.configure(cfg)
    items = training_items(cfg.DATASETS.TARGETS)
    if len(items) < MIN_IMAGES:
        raise DatasetError(f"{', '.join(cfg.DATASETS.TARGETS)}: {len(items)} images are too few to cluster")
    if len(items) < FEW:
        cfg.DATALOADER.NUM_WORKERS = 0  # they would take longer to start than to work
    known = what_is_known(cfg.DATASETS.TARGETS, items)
    networks = load_networks(cfg, weights)
    views = view_images(networks, build_extraction_loader(cfg, items), cfg.MODEL.DEVICE)
    tried = explore(views, known, Setting.of(cfg))
    speaks_against = list(doubts(tried[0]))
    command = next_command(tried[0], recipe, cfg.DATASETS.TARGETS, weights, network_cfg, arguments.opts)
    targets = ", ".join(cfg.DATASETS.TARGETS)
    words = ["mmt", "explore-labels", *arguments.weights, "--target", *cfg.DATASETS.TARGETS]
    repeat = shlex.join(words)
    page = Explored(targets, items, views.features, known, tried, speaks_against, command, repeat)
    write_page(page, arguments.output)
    head, rows = table_of(tried[:SHOWN])
    print(f"{len(items)} images of {targets}, {len(tried)} settings; the best first, by worth:\n")
    print(tabulate(rows, head, disable_numparse=True, stralign="right"))
    for sentence in speaks_against:
        print(f"\nDoubtful: {sentence}")
    print(f"\nRecommended: {' '.join(tried[0].setting.overrides())}")
    print(f"Look at the clusters: {arguments.output}\nThen train:\n    {command}")


def what_is_known(targets: Sequence[str], items: Sequence[Item]) -> Known:
    """Identities, cameras, tracklets and frames of images, as far as the data sets tell."""
    identities, cameras = (dense_ids([item[column] for item in items]) for column in (1, 2))
    tracklets = exclusive = None
    try:
        tracklets = training_tracklets(targets, items)
        if training_frames(targets, items).max(initial=-1) >= 0:
            exclusive = exclusive_tracklets(targets, items)
    except DatasetError:  # none has any
        tracklets = None
    return Known(
        identities if identities.max() > 0 else None,
        cameras if cameras.max() > 0 else None,
        tracklets,
        exclusive,
    )


def _what_is_named(
    names: Sequence[str], config_file: str | None, opts: Sequence[str]
) -> tuple[str, CfgNode, list[str]]:
    """The recipe that is to train, the configuration of the networks, and files of weights."""
    runs = [name for name in names if name != PRETRAINED and _is_of_run(name)]
    weights = [str(Run(name).weights) if name in runs else name for name in names]
    if config_file is None and not runs:
        raise ConfigError(
            f"{names[0]} is no run, so nothing tells its network: name a recipe, for instance "
            f"--config-file {OWN_RECIPE}"
        )
    first = Run(runs[0]) if runs else None
    recipe = config_file
    if recipe is None:
        adapts = first.cfg.PSEUDO_LABELS.METHOD == "dbscan"
        recipe = str(first.folder / CONFIG if adapts else find_recipe(OWN_RECIPE))
    recipe_cfg = load_config(recipe, list(opts))
    return recipe, first.cfg if first is not None else recipe_cfg, weights


def _is_of_run(name: str) -> bool:
    path = Path(name)
    return is_run(path) or (path.is_file() and is_run(path.parent))
