"""The whole recipe behind one command: source pre-training where it is needed, then adaptation; finished
stages are skipped.
"""

import json
import logging
import os
import time
from contextlib import closing
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm

from mmt_plugin.config import ConfigError, check_config, load_config
from mmt_plugin.host.checkpoint import replace_when_complete

from .checkpoint import BEST, CheckpointError
from .description import describe_run
from .hooks import draw_results
from .recipe import recipe_changes
from .report import record_ranking, report
from .run_folder import claimed
from .trainer import MMTTrainer

logger = logging.getLogger("fastreid.mmt")

FINAL_MODEL = "model_final.pth"
RESULTS = "results.json"
# What the source stage must share with the adaptation it prepares.
SHARED_NODES = (
    "MODEL.BACKBONE",
    "INPUT.SIZE_TRAIN",
    "INPUT.SIZE_TEST",
    "DATASETS",
    "DATALOADER.NUM_WORKERS",
    "SYNTHETIC",
)
SHARED_KEYS = ("MODEL.DEVICE", "MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
SHARED_HEAD_KEYS = ("NAME", "NORM", "EMBEDDING_DIM", "WITH_BNNECK", "NECK_FEAT", "POOL_LAYER")


def run(cfg: CfgNode, config_file: str, resume: bool) -> dict:
    """Pre-train what is missing, then train, then write the report.

    Args:
        cfg: checked and frozen.
        config_file: where ``cfg`` came from; MMT.SOURCE.CONFIG_FILE is relative to it.
        resume: continue an interrupted run.

    Returns:
        Metrics of the last evaluation, as of :meth:`MMTTrainer.test`; empty away from the main process.
    """
    clustered = cfg.PSEUDO_LABELS.METHOD != "ground_truth"
    if clustered and cfg.MMT.SOURCE.PRETRAIN and not cfg.MMT.WEIGHTS:
        cfg = cfg.clone()
        cfg.defrost()
        seeds = cfg.MMT.SOURCE.SEEDS[: cfg.MMT.NUM_PAIRS]
        cfg.MMT.WEIGHTS = tuple(pretrain(source_config(cfg, config_file, seed), resume) for seed in seeds)
        cfg.freeze()
    results = train(cfg, resume)
    report(cfg)
    return results


def pretrain(cfg: CfgNode, resume: bool) -> str:
    """Train one source model unless that is done already; returns its final checkpoint's path."""
    final = Path(cfg.OUTPUT_DIR, FINAL_MODEL)
    if Path(cfg.OUTPUT_DIR, RESULTS).exists():
        _check_same_recipe(cfg)
        logger.info(f"Source model of seed {cfg.SEED} is there already: {final}")
    else:
        logger.info(f"Pre-training the source model of seed {cfg.SEED} into {cfg.OUTPUT_DIR}")
        with claimed(cfg.OUTPUT_DIR):
            train(cfg, resume)
    return str(final)


def recorded_metrics(cfg: CfgNode) -> dict | None:
    """What a stage that is complete has recorded; None for one that is not."""
    results_file = Path(cfg.OUTPUT_DIR, RESULTS)
    if not results_file.exists():
        return None
    logger.info(f"This run is complete: {results_file}")
    return json.loads(results_file.read_text())["metrics"]


def train(cfg: CfgNode, resume: bool) -> dict:
    """One stage. A stage that is complete is not repeated: its recorded results are returned."""
    if resume and (recorded := recorded_metrics(cfg)) is not None:
        return recorded
    record_recipe(cfg)
    start = time.perf_counter()
    with closing(MMTTrainer(cfg)) as trainer:
        trainer.resume_or_load(resume)
        if trainer.start_epoch < trainer.max_epoch:
            results = dict(trainer.train() or {})
        else:  # stopped after its last epoch, before its results were recorded
            results = dict(trainer.evaluate())
        draw_results(trainer)
        record_ranking(trainer)
    findings = {
        "clusters": trainer.num_clusters,
        "label_free": trainer.label_free_quality,
        "selected_epoch": trainer.selected_epoch,
    }
    write_results(cfg, RESULTS, results, time.perf_counter() - start, findings)
    if not cfg.DATASETS.TESTS:
        told = ", ".join(f"{name} {value:.3f}" for name, value in trainer.label_free_quality.items())
        logger.info(f"Not evaluated, because DATASETS.TESTS is empty. Without labels: {told or 'nothing'}")
    logger.info(f"Model: {Path(cfg.OUTPUT_DIR, chosen_model(cfg))}; {selection_rule(cfg)}")
    return results


def record_recipe(cfg: CfgNode) -> None:
    """Write config.yaml into OUTPUT_DIR, which is made where it is missing."""
    if comm.is_main_process():
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        with replace_when_complete(str(Path(cfg.OUTPUT_DIR, "config.yaml")), "w") as file:
            file.write(cfg.dump())
    comm.synchronize()


def write_results(
    cfg: CfgNode, file_name: str, metrics: dict, seconds: float, findings: dict | None = None
) -> None:
    """Record what a stage found, as a JSON file in OUTPUT_DIR. A training's ``results.json`` marks it
    complete.

    Args:
        cfg: of the stage.
        file_name: of the record.
        metrics: in percent, by name; empty without a test set.
        seconds: that the stage took.
        findings: what else a training found: clusters, label-free measures, the selected epoch.
    """
    if comm.is_main_process():
        record = {
            "metrics": metrics,
            "clusters": None,
            **(findings or {}),
            "minutes": seconds / 60,
            "selection": selection_rule(cfg),
            "run": describe_run(cfg),
        }
        with replace_when_complete(str(Path(cfg.OUTPUT_DIR, file_name)), "w") as file:
            json.dump(record, file, indent=1, default=float)


def chosen_model(cfg: CfgNode) -> str:
    """File name of the model that MMT.SELECTION.RULE chooses."""
    return FINAL_MODEL if cfg.MMT.SELECTION.RULE == "last" else f"{BEST}.pth"


def selection_rule(cfg: CfgNode) -> str:
    """One sentence: which network is used for inference, and how it was chosen."""
    if cfg.MMT.SELECTION.RULE == "best":
        return (
            f"inference uses the network and epoch with the best mAP on {cfg.MMT.SELECTION.DATASET} "
            "(model_best.pth), labels used"
        )
    kind = "teacher" if cfg.MMT.EMA.ENABLED else "student"
    if cfg.MMT.SELECTION.RULE == "stable":
        return (
            f"inference uses {kind} 1 at the epoch with the best label-free score (model_best.pth); no label "
            "took part in choosing it"
        )
    return f"inference uses {kind} 1 at the last epoch; no label took part in choosing it"


def source_config(cfg: CfgNode, config_file: str, seed: int) -> CfgNode:
    """The recipe MMT.SOURCE.CONFIG_FILE, for the same networks, images and datasets as ``cfg``.

    Raises:
        ConfigError: if the file is missing or the combination cannot train.
    """
    path = Path(config_file).parent / cfg.MMT.SOURCE.CONFIG_FILE
    if not path.is_file():
        raise ConfigError(f"MMT.SOURCE.CONFIG_FILE is {cfg.MMT.SOURCE.CONFIG_FILE!r}: there is no {path}")
    source = load_config(path)
    for name in (*SHARED_NODES, *SHARED_KEYS, *(f"MODEL.HEADS.{key}" for key in SHARED_HEAD_KEYS)):
        parents, leaf = name.split(".")[:-1], name.split(".")[-1]
        ours, theirs = cfg, source
        for parent in parents:
            ours, theirs = ours[parent], theirs[parent]
        theirs[leaf] = ours[leaf].clone() if isinstance(ours[leaf], CfgNode) else ours[leaf]
    source.merge_from_list(list(cfg.MMT.SOURCE.OPTS))
    source.SEED = seed
    source.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, f"source_seed{seed}"))
    check_config(source)
    source.freeze()
    return source


def _check_same_recipe(cfg: CfgNode) -> None:
    """Refuse a finished source model that another recipe made."""
    changes = recipe_changes(Path(cfg.OUTPUT_DIR, "config.yaml").read_text(), cfg.dump())
    if changes:
        raise CheckpointError(
            f"{cfg.OUTPUT_DIR!r} holds a source model of another recipe ({', '.join(changes[:5])}). "
            "Choose another OUTPUT_DIR, or delete that folder to pre-train again"
        )
