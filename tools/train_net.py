#!/usr/bin/env python
"""Train or evaluate Mutual Mean-Teaching, its baselines, source pre-training, image translation (SDA), or any
fastreid config.
"""

from mmt_plugin import add_mmt_config  # noqa: F401  (first: it makes fastreid importable, in spawned workers, too)

# isort: split
import sys
import time
from collections.abc import Callable

from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, default_argument_parser, default_setup
from fastreid.utils.checkpoint import Checkpointer

from mmt_plugin import engine, host, sda
from mmt_plugin.config import ConfigError, check_config, load_config
from mmt_plugin.data import synthetic
from mmt_plugin.data.build import build_extraction_loader, training_items
from mmt_plugin.data.unreadable import TooManyUnreadableError
from mmt_plugin.engine import MMTTrainer, load_for_evaluation, write_results
from mmt_plugin.engine.checkpoint import CheckpointError, refuse_overwriting
from mmt_plugin.engine.features import reestimate_bn_statistics
from mmt_plugin.engine.label_hook import DegenerateClusteringError
from mmt_plugin.engine.run_folder import claimed
from mmt_plugin.engine.stopping import Stopped
from mmt_plugin.host.images import UnreadableImageError


def load_checked_config(args) -> CfgNode:
    """The checked, frozen config of the command line."""
    cfg = load_config(args.config_file, args.opts)
    host.resolve_device(cfg)
    if runner(cfg):
        check_config(cfg)
    synthetic.configure(cfg)
    cfg.freeze()
    return cfg


def runner(cfg: CfgNode) -> Callable[[CfgNode, str, bool], dict] | None:
    """What trains a config of the plugin's; None for one of fastreid's own."""
    runners = {"MutualMeanTeaching": engine.run, "StructuredDomainAdaptation": sda.run}
    return runners.get(cfg.MODEL.META_ARCHITECTURE)


def evaluate(cfg: CfgNode) -> dict:
    """Evaluate MODEL.WEIGHTS, and record the metrics as evaluation.json in OUTPUT_DIR.

    With TEST.PRECISE_BN, BN statistics are first re-estimated on that dataset's training images.
    """
    if runner(cfg) is sda.run:
        raise ConfigError("--eval-only: a translation has no metrics; tools/translate.py makes its images")
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
    DegenerateClusteringError,
    FileNotFoundError,
    FloatingPointError,
    TooManyUnreadableError,
    UnreadableImageError,
)

if __name__ == "__main__":
    arguments = default_argument_parser().parse_args()
    try:
        host.launch(
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
