"""What `train` does, in as many processes as wanted: train a config, or evaluate its weights."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.collect_env import collect_env_info
from fastreid.utils.env import seed_all_rng
from fastreid.utils.logger import setup_logger

from mmt_plugin import data
from mmt_plugin.config import ConfigError, check_config, load_config
from mmt_plugin.config.architecture import MMT, SDA, is_a
from mmt_plugin.data.build import build_extraction_loader, training_items
from mmt_plugin.data.checks import check_test_sets
from mmt_plugin.engine.features import reestimate_bn_statistics
from mmt_plugin.engine.pipeline import run as run_adaptation
from mmt_plugin.engine.resume.checkpointer import refuse_overwriting
from mmt_plugin.engine.trainer import MMTTrainer, load_for_evaluation
from mmt_plugin.runs.lock import locked
from mmt_plugin.runs.record import make_folder, record_recipe, write_results
from mmt_plugin.sda.pipeline import run as run_translation
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.launch import launch

from .user_modules import import_module_or_file


def start(arguments: argparse.Namespace) -> None:
    """Do what the command line says, in as many processes as it says."""
    # Once before there are several, so that a mistake is told once.
    device = load_checked_config(arguments).MODEL.DEVICE
    launch(
        main,
        arguments.num_gpus,
        num_machines=arguments.num_machines,
        machine_rank=arguments.machine_rank,
        dist_url=arguments.dist_url,
        args=(arguments,),
        device=device,
    )


def load_checked_config(arguments: argparse.Namespace) -> CfgNode:
    """The checked, frozen config of the command line."""
    cfg = load_config(arguments.config_file, arguments.opts)
    cfg.IMPORTS = tuple(arguments.imports)
    resolve_device(cfg)
    if runner(cfg):
        check_config(cfg)
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

    With TEST.PRECISE_BN, BN statistics are first re-estimated on that dataset's training images.

    Raises:
        ConfigError: there is no test set.
    """
    if runner(cfg) is run_translation:
        raise ConfigError("--eval-only: a translation has no metrics; tools/translate.py makes its images")
    if not cfg.DATASETS.TESTS:
        raise ConfigError(
            "--eval-only: DATASETS.TESTS is empty, and metrics need labelled query and gallery images; name "
            "a test set, or read the label_free measures of the run's results.json"
        )
    check_test_sets(cfg.DATASETS.TESTS)
    if runner(cfg) is None:
        model = DefaultTrainer.build_model(cfg)
        Checkpointer(model).load(cfg.MODEL.WEIGHTS)
        return DefaultTrainer.test(cfg, model)
    start = time.perf_counter()
    model = load_for_evaluation(cfg)
    if cfg.TEST.PRECISE_BN.ENABLED:
        items = training_items([cfg.TEST.PRECISE_BN.DATASET])
        reestimate_bn_statistics(model, build_extraction_loader(cfg, items))
    metrics = MMTTrainer.test(cfg, model)
    write_results(cfg, "evaluation.json", metrics, time.perf_counter() - start)
    return metrics


def set_up(cfg: CfgNode, args: argparse.Namespace) -> None:
    """fastreid's setup: the log and what it begins with, seeds. Unlike it, this leaves config.yaml to a
    training that is accepted: an evaluation, or a resume that is refused, is not what made the model.
    """
    make_folder(cfg)
    rank = comm.get_rank()
    logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)
    logger.info(f"Rank of current process: {rank}. World size: {comm.get_world_size()}")
    logger.info(f"Environment info:\n{collect_env_info()}")
    logger.info(f"Command line arguments: {args}")
    logger.info(f"Contents of args.config_file={args.config_file}:\n{Path(args.config_file).read_text()}")
    logger.info(f"Running with full config:\n{cfg}")
    seed_all_rng()
    if not args.eval_only:
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK


def main(args: argparse.Namespace) -> dict:
    """The work of one process."""
    for name in args.imports:
        import_module_or_file(name)
    cfg = load_checked_config(args)
    with locked(cfg.OUTPUT_DIR):
        if runner(cfg) and not (args.resume or args.eval_only):
            refuse_overwriting(cfg.OUTPUT_DIR)
        set_up(cfg, args)
        if args.eval_only:
            return evaluate(cfg)
        if train := runner(cfg):
            return train(cfg, args.config_file, args.resume, args.allow_change)
        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        record_recipe(cfg)
        return trainer.train()
