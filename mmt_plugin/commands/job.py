"""What `train` does, in as many processes as wanted: train a config, or evaluate its weights."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import distributed

from mmt_plugin import data
from mmt_plugin.config import ConfigError, check_config, check_elements, check_evaluation, load_config
from mmt_plugin.config.architecture import MMT, SDA, is_a
from mmt_plugin.config.load import written_keys
from mmt_plugin.config.reads import recording
from mmt_plugin.data.preflight import check_sets
from mmt_plugin.engine.evaluate_model import evaluate_networks
from mmt_plugin.engine.fastreid_trainer import train_fastreids
from mmt_plugin.engine.pipeline import needs_sources, source_config
from mmt_plugin.engine.pipeline import run as run_adaptation
from mmt_plugin.engine.resume.checkpointer import refuse_overwriting
from mmt_plugin.engine.trained_model import load_for_evaluation
from mmt_plugin.runs.lock import locked
from mmt_plugin.runs.record import write_evaluation
from mmt_plugin.runs.setup import set_up
from mmt_plugin.sda.phases import encoder_recipe, needs_encoder
from mmt_plugin.sda.phases import run as run_translation
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.launch import launch
from mmt_plugin.weights.load_network import CheckpointError

from .line import EXPLAINED, MISTAKE, is_explained, tell
from .user_modules import import_module_or_file


def start(arguments: argparse.Namespace) -> None:
    """Do what the command line says, in as many processes as it says."""
    # Once before there are several, so that a mistake is told once.
    cfg = load_checked_config(arguments)
    if not arguments.eval_only:
        check_before_training(cfg, arguments.config_file, arguments.resume)
    launch(
        in_rank,
        arguments.num_gpus,
        num_machines=arguments.num_machines,
        machine_rank=arguments.machine_rank,
        dist_url=arguments.dist_url,
        args=(arguments,),
        device=cfg.MODEL.DEVICE,
    )


def in_rank(arguments: argparse.Namespace) -> None:
    """`main`, one of several processes; a mistake is told here, where it is more than a traceback."""
    try:
        main(arguments)
    except EXPLAINED as error:
        if comm.get_world_size() == 1 or arguments.debug or not is_explained(error):
            raise
        if _is_first_to_tell():
            tell(error)
        sys.exit(MISTAKE)


def _is_first_to_tell() -> bool:
    """Whether no other rank has told a mistake: most are everybody's, and are told once."""
    try:
        return distributed.distributed_c10d._get_default_store().add("mistakes told", 1) == 1
    except RuntimeError:  # rank 0, which holds the store, has told its own and ended
        return False


def check_before_training(cfg: CfgNode, config_file: str, resume: bool) -> None:
    """Find what would otherwise be found when the source models are trained, hours later.

    Args:
        cfg: of the command line.
        config_file: where it came from.
        resume: a run that goes on has taken up its weights.

    Raises:
        UserError: naming the key.
    """
    check_sets(cfg)
    stages = [] if resume else [cfg]
    if runner(cfg) is run_adaptation and needs_sources(cfg):
        stages += [
            source_config(cfg, config_file, seed) for seed in cfg.MMT.SOURCE.SEEDS[: cfg.MMT.NUM_PAIRS]
        ]
    if runner(cfg) is run_translation and needs_encoder(cfg):
        stages.append(encoder_recipe(cfg, config_file))
    for stage in stages:
        check_files(stage)


def check_files(cfg: CfgNode) -> None:
    """Refuse files of weights that are not there.

    Raises:
        CheckpointError: naming the key.
    """
    backbone, sda = cfg.MODEL.BACKBONE, cfg.SDA
    named = {"MODEL.WEIGHTS": [cfg.MODEL.WEIGHTS]}
    if is_a(cfg, MMT):
        named["MMT.WEIGHTS"] = cfg.MMT.WEIGHTS
    if is_a(cfg, SDA):
        named |= {"SDA.SOURCE_ENCODER": [sda.SOURCE_ENCODER], "SDA.TARGET_ENCODER": [sda.TARGET_ENCODER]}
    if backbone.PRETRAIN:
        named["MODEL.BACKBONE.PRETRAIN_PATH"] = [backbone.PRETRAIN_PATH]
    for key, paths in named.items():
        for path in paths:
            if path and not Path(path).is_file():
                raise CheckpointError(f"checkpoint {path!r} does not exist ({key})")


def load_checked_config(arguments: argparse.Namespace) -> CfgNode:
    """The checked, frozen config of the command line."""
    cfg = load_config(arguments.config_file, arguments.opts)
    if "IMPORTS" in arguments.opts[::2]:
        raise ConfigError("IMPORTS is a record, for which nothing is imported: give --import MODULE")
    if not cfg.OUTPUT_DIR:
        raise ConfigError("OUTPUT_DIR is empty: name the folder of the run")
    cfg.IMPORTS = tuple(arguments.imports)
    resolve_device(cfg)
    (check_config if runner(cfg) else check_elements)(cfg)
    data.configure(cfg)
    cfg.freeze()
    return cfg


def runner(cfg: CfgNode) -> Callable[[CfgNode, str, bool, list[str]], dict] | None:
    """What trains a config of the plugin's; None for one of fastreid's own."""
    if is_a(cfg, MMT):
        return run_adaptation
    return run_translation if is_a(cfg, SDA) else None


def evaluate(cfg: CfgNode) -> dict:
    """Evaluate MODEL.WEIGHTS, and record the metrics as evaluation.json in OUTPUT_DIR.

    Raises:
        ConfigError: there is no test set, or no weights.
    """
    if runner(cfg) is run_translation:
        raise ConfigError("--eval-only: a translation has no metrics; tools/translate.py makes its images")
    if not cfg.DATASETS.TESTS:
        raise ConfigError(
            "--eval-only: DATASETS.TESTS is empty, and metrics need labelled query and gallery images; name "
            "a test set, or read the label_free measures of the run's results.json"
        )
    check_sets(cfg, training=False)
    check_evaluation(cfg)
    start = time.perf_counter()
    metrics, _, test_sets = evaluate_networks(cfg, load_for_evaluation(cfg))
    write_evaluation(cfg, metrics, test_sets, time.perf_counter() - start)
    return metrics


def main(args: argparse.Namespace) -> dict:
    """The work of one process."""
    for name in args.imports:
        import_module_or_file(name)
    cfg = recording(load_checked_config(args), written_keys(args.config_file, args.opts))
    if args.eval_only:
        set_up(cfg, args, folder=None)  # OUTPUT_DIR may be a run's, whose log this is no part of
        return evaluate(cfg)
    with locked(cfg.OUTPUT_DIR):
        if runner(cfg) and not args.resume:
            refuse_overwriting(cfg.OUTPUT_DIR)  # before anything is written there
        set_up(cfg, args, cfg.OUTPUT_DIR)
        if train := runner(cfg):
            return train(cfg, args.config_file, args.resume, args.allow_change)
        return train_fastreids(cfg, args.resume, args.allow_change)
