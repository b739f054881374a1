"""The whole recipe behind one command: source pre-training where it is needed, then adaptation; finished
stages are skipped.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm

from mmt_plugin import data
from mmt_plugin.config import ConfigError, check_config, load_config
from mmt_plugin.config.load import merge_options
from mmt_plugin.config.reads import recording
from mmt_plugin.report.at_end import record_ranking, report
from mmt_plugin.report.ranked_results import draw_results
from mmt_plugin.runs.lock import locked
from mmt_plugin.runs.recipe import check_allowed, in_its_time, recipe_changes
from mmt_plugin.runs.record import make_folder, recorded_metrics, selection_rule, write_results
from mmt_plugin.runs.run import Run, chosen_model, is_run
from mmt_plugin.runs.run_files import FINAL_MODEL, RESULTS
from mmt_plugin.weights.load_network import CheckpointError

from .acceptance import accept, with_pretrained
from .hooks.selection import GuardedSelectionHook
from .trainer import MMTTrainer
from .verdict import WORKED, Verdict, verdict_of

logger = logging.getLogger("fastreid.mmt")
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


def run(cfg: CfgNode, config_file: str, resume: bool, allow_change: Sequence[str] = ()) -> dict:
    """Pre-train what is missing, then train, then write the report.

    Args:
        cfg: checked and frozen.
        config_file: where ``cfg`` came from; MMT.SOURCE.CONFIG_FILE is relative to it.
        resume: continue an interrupted run, or, with a larger SOLVER.MAX_EPOCH, a finished one.
        allow_change: keys that may have another value than the run was started with. What changed, and from
            which iteration on, is recorded in its results.json.

    Returns:
        Metrics of the chosen model, as of :meth:`MMTTrainer.test`; empty away from the main process.

    Raises:
        ConfigError: keys that do not exist, or that are to change in a run that is not resumed.
        CheckpointError: the run to be resumed is another one.
    """
    check_allowed(allow_change, resume)
    if resume:
        cfg = in_its_time(cfg)
    if needs_sources(cfg):

        def pretrain_sources(cfg: CfgNode) -> None:
            seeds = cfg.MMT.SOURCE.SEEDS[: cfg.MMT.NUM_PAIRS]
            # All before the first is trained: a mistake in the last would be found hours later.
            sources = [source_config(cfg, config_file, seed) for seed in seeds]
            cfg.MMT.WEIGHTS = tuple(pretrain(source, resume, allow_change) for source in sources)

        cfg = with_pretrained(cfg, MMTTrainer, pretrain_sources)
    results = train(cfg, resume, allow_change)
    report(cfg)
    return results


def needs_sources(cfg: CfgNode) -> bool:
    """Whether source models are pre-trained before the adaptation."""
    clustered = cfg.PSEUDO_LABELS.METHOD != "ground_truth"
    return clustered and cfg.MMT.SOURCE.PRETRAIN and not cfg.MMT.WEIGHTS


def pretrain(cfg: CfgNode, resume: bool, allow_change: Sequence[str] = ()) -> str:
    """Train one source model unless that is done already; returns its final checkpoint's path."""
    final = Path(cfg.OUTPUT_DIR, FINAL_MODEL)
    cfg = in_its_time(cfg)
    if Path(cfg.OUTPUT_DIR, RESULTS).exists():
        _check_same_recipe(cfg, allow_change)
        logger.info(f"Source model of seed {cfg.SEED} is there already: {final}")
    else:
        logger.info(f"Pre-training the source model of seed {cfg.SEED} into {cfg.OUTPUT_DIR}")
        with locked(cfg.OUTPUT_DIR):
            train(cfg, resume, allow_change)
    return str(final)


def train(cfg: CfgNode, resume: bool, allow_change: Sequence[str] = ()) -> dict:
    """One stage; see `run`. A stage that is complete is not repeated: its recorded results are returned."""
    if resume and (recorded := recorded_metrics(cfg)) is not None:
        return recorded
    make_folder(cfg)
    cfg = recording(cfg)
    data.configure(cfg)  # of a source stage, MMT.SOURCE.OPTS may set DATASETS.OWN
    start = time.perf_counter()
    with closing(MMTTrainer(cfg, allow_change)) as trainer:
        trainer.resume_or_load(resume)
        accept(cfg, resumed=resume and is_run(cfg.OUTPUT_DIR))
        trainer.begin_record()
        if trainer.start_epoch < trainer.max_epoch:
            results = dict(trainer.train() or {})
        else:  # stopped after its last epoch, before its results were recorded
            trainer.checkpointer.close_again()
            results = dict(trainer.evaluate())
        if cfg.MMT.SELECTION.RULE != "last":
            results = dict(trainer.evaluate_chosen())
        draw_results(trainer)
        record_ranking(trainer)
    findings = {**trainer.findings, "selected_epoch": trainer.selected_epoch, "test_sets": trainer.test_sets}
    verdict = _judge(cfg, trainer, findings, results)
    if verdict is not None:
        findings["verdict"] = verdict.as_dict()
    if trainer.run_state.changes:
        findings["changes"] = trainer.run_state.changes
    write_results(cfg, RESULTS, results, time.perf_counter() - start, findings)
    if not cfg.DATASETS.TESTS:
        told = ", ".join(f"{name} {value:.3f}" for name, value in findings["label_free"].items())
        logger.info(f"Not evaluated, because DATASETS.TESTS is empty. Without labels: {told or 'nothing'}")
    logger.info(f"Model: {Path(cfg.OUTPUT_DIR, chosen_model(cfg))}; {selection_rule(cfg)}")
    if verdict is not None:
        (logger.info if verdict.word == WORKED else logger.warning)(str(verdict))
    return results


def _judge(cfg: CfgNode, trainer: MMTTrainer, findings: dict, results: dict) -> Verdict | None:
    """What the adaptation amounts to; None for supervised training, and away from the main process."""
    if cfg.PSEUDO_LABELS.METHOD == "ground_truth" or not comm.is_main_process():
        return None
    start = None
    if isinstance(trainer.selection, GuardedSelectionHook):
        start = (*trainer.selection.start, trainer.selection.best)
    gain = None
    before = [run.results.get("metrics", {}).get("mAP") for run in Run(cfg.OUTPUT_DIR).sources]
    if "mAP" in results and before and None not in before:  # one test set, of both
        gain = results["mAP"] - sum(before) / len(before)
    # Measured of the chosen model where that is chosen by it, else of the last label step.
    largest = trainer.run_state.latest().get("largest_cluster", 0) / trainer.num_target
    quality = {"largest": largest, **findings["label_free"]}
    return verdict_of({**findings, "label_free": quality}, start, gain)


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
    merge_options(source, list(cfg.MMT.SOURCE.OPTS), "MMT.SOURCE.OPTS")
    source.SEED = seed
    source.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, f"source_seed{seed}"))
    check_config(source)
    source.freeze()
    return recording(source, cfg.MMT.SOURCE.OPTS[::2])


def _check_same_recipe(cfg: CfgNode, allow_change: Sequence[str]) -> None:
    """Refuse a finished source model that another recipe made."""
    changes = recipe_changes(Run(cfg.OUTPUT_DIR).config_text, cfg.dump(), allowed=allow_change)
    if changes:
        raise CheckpointError(
            f"{cfg.OUTPUT_DIR!r} holds a source model of another recipe ({', '.join(changes[:5])}). "
            "Choose another OUTPUT_DIR, or delete that folder to pre-train again"
        )
