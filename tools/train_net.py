#!/usr/bin/env python
"""Train or evaluate Mutual Mean-Teaching, its baselines, source pre-training, image translation (SDA), or any
fastreid config.

    python tools/train_net.py --config-file configs/synthetic/plaza2metro_mmt.yml
    python tools/train_net.py --config-file configs/mmt/market2duke.yml --resume OUTPUT_DIR logs/a SEED 2
    python tools/train_net.py --config-file configs/mmt/market2duke.yml --eval-only \\
        MODEL.WEIGHTS logs/a/model_final.pth
    python tools/train_net.py --config-file configs/mmt/market2duke.yml --num-gpus 4

What follows the options are configuration keys and their values; all keys of the plugin, with what they mean,
stand in mmt_plugin/config/defaults.py, the recipes in configs/. Data sets lie below the folder that the
environment variable FASTREID_DATASETS names. A run that was interrupted goes on with --resume.
tools/doctor.py says what this machine lacks.
"""

from mmt_plugin import add_mmt_config  # noqa: F401  (first: it makes fastreid importable, in spawned workers, too)

# isort: split
import argparse
import sys
import time
from collections.abc import Callable

from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, default_argument_parser, default_setup
from fastreid.utils.checkpoint import Checkpointer

from mmt_plugin import data, engine
from mmt_plugin.config import ConfigError, check_config, load_config
from mmt_plugin.data.build import build_extraction_loader, training_items
from mmt_plugin.data.checks import check_test_sets
from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.data.unreadable import TooManyUnreadableError
from mmt_plugin.engine import MMTTrainer, load_for_evaluation, write_results
from mmt_plugin.engine.features import reestimate_bn_statistics
from mmt_plugin.engine.hooks.pseudo_labels import DegenerateClusteringError
from mmt_plugin.engine.resume.checkpointer import refuse_overwriting
from mmt_plugin.engine.resume.stopping import Stopped
from mmt_plugin.runs.lock import claimed
from mmt_plugin.sda.pipeline import run as run_translation
from mmt_plugin.system.devices import resolve_device
from mmt_plugin.system.images import UnreadableImageError
from mmt_plugin.system.launch import launch
from mmt_plugin.weights.backbones import PretrainedError
from mmt_plugin.weights.network import CheckpointError


def parse_arguments() -> argparse.Namespace:
    """fastreid's command line, explained."""
    parser = default_argument_parser()
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    return parser.parse_args()


def load_checked_config(args) -> CfgNode:
    """The checked, frozen config of the command line."""
    cfg = load_config(args.config_file, args.opts)
    resolve_device(cfg)
    if runner(cfg):
        check_config(cfg)
    data.configure(cfg)
    cfg.freeze()
    return cfg


def runner(cfg: CfgNode) -> Callable[[CfgNode, str, bool], dict] | None:
    """What trains a config of the plugin's; None for one of fastreid's own."""
    runners = {"MutualMeanTeaching": engine.run, "StructuredDomainAdaptation": run_translation}
    return runners.get(cfg.MODEL.META_ARCHITECTURE)


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


def main(args) -> dict:
    cfg = load_checked_config(args)
    with claimed(cfg.OUTPUT_DIR):
        if runner(cfg) and not (args.resume or args.eval_only):
            refuse_overwriting(cfg.OUTPUT_DIR)  # before the setup writes its own config.yaml there
        default_setup(cfg, args)
        if args.eval_only:
            return evaluate(cfg)
        if train := runner(cfg):
            return train(cfg, args.config_file, args.resume)
        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()


# Mistakes of the user's and of the data's: one sentence says more than where in the code they were noticed.
EXPLAINED = (
    ConfigError,
    CheckpointError,
    DatasetError,
    DegenerateClusteringError,
    FileNotFoundError,
    FloatingPointError,
    PretrainedError,
    TooManyUnreadableError,
    UnreadableImageError,
)

if __name__ == "__main__":
    arguments = parse_arguments()
    try:
        launch(
            main,
            arguments.num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
            args=(arguments,),
            device=load_config(arguments.config_file, arguments.opts).MODEL.DEVICE,
        )
    except EXPLAINED as error:
        sys.exit(f"error: {error}")
    except Stopped as stop:
        print(f"{stop}; continue with --resume", file=sys.stderr)
        sys.exit(stop.exit_status)
    except KeyboardInterrupt:
        sys.exit("interrupted")
