"""What a run writes into its folder about itself."""

import json
import logging
import os
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm

from mmt_plugin.system.files import replace_when_complete
from mmt_plugin.weights.load_network import CheckpointError

from .description import describe_run
from .recipe import RESUME_FREE_KEYS, recipe_changes
from .run import Run, is_run
from .run_files import CONFIG, EVALUATION, RESULTS

logger = logging.getLogger("fastreid.mmt")


def recorded_metrics(cfg: CfgNode) -> dict | None:
    """What a stage that is complete has recorded; None for one that is not, or that is to go on for more
    epochs.
    """
    if not is_run(cfg.OUTPUT_DIR) or not (run := Run(cfg.OUTPUT_DIR)).is_complete:
        return None
    epochs = run.results.get("run", {}).get("epochs") or run.cfg.SOLVER.MAX_EPOCH
    if epochs < cfg.SOLVER.MAX_EPOCH:
        logger.info(f"This run was complete after {epochs} epochs; it goes on to {cfg.SOLVER.MAX_EPOCH}")
        return None
    changes = recipe_changes(run.config_text, cfg.dump(), {*RESUME_FREE_KEYS} - {"SOLVER.MAX_EPOCH"})
    if epochs > cfg.SOLVER.MAX_EPOCH or changes:
        changes = changes or [f"SOLVER.MAX_EPOCH {epochs} -> {cfg.SOLVER.MAX_EPOCH}"]
        raise CheckpointError(
            f"{cfg.OUTPUT_DIR!r} holds a complete run of another recipe: {', '.join(changes[:5])}. "
            "Nothing of it is left to train: give a larger SOLVER.MAX_EPOCH, or choose another OUTPUT_DIR"
        )
    logger.info(f"This run is complete: {run.folder / RESULTS}")
    return run.results["metrics"]


def make_folder(cfg: CfgNode) -> None:
    """Make OUTPUT_DIR where it is missing."""
    if comm.is_main_process():
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    comm.synchronize()


def record_recipe(cfg: CfgNode) -> None:
    """Write config.yaml into OUTPUT_DIR. Only a training does so, and only once it is accepted: a folder's
    configuration is that of its model.
    """
    if comm.is_main_process():
        with replace_when_complete(str(Path(cfg.OUTPUT_DIR, CONFIG)), "w") as file:
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
        findings: what else was found: clusters, label-free measures, the selected epoch, what was counted in
            test sets, and, if any, "changes" of the recipe while it ran, which make it another recipe.
    """
    if comm.is_main_process():
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        record = {
            "metrics": metrics,
            "clusters": None,
            **(findings or {}),
            "minutes": seconds / 60,
            "selection": selection_rule(cfg),
            "run": describe_run(cfg, (findings or {}).get("changes", ())),
        }
        with replace_when_complete(str(Path(cfg.OUTPUT_DIR, file_name)), "w") as file:
            json.dump(record, file, indent=1, default=float)


def write_evaluation(cfg: CfgNode, metrics: dict, test_sets: dict, seconds: float) -> None:
    """Record an evaluation without a training, with its configuration, as evaluation.json in OUTPUT_DIR.
    Nothing else there is touched: the folder may be a run's.
    """
    write_results(cfg, EVALUATION, metrics, seconds, {"test_sets": test_sets, "config": cfg.dump()})


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
    if cfg.MMT.SELECTION.RULE == "guarded":
        return (
            f"inference uses {kind} 1 of the epoch, or of the start, with the best label-free guard "
            "(model_best.pth); no label took part in choosing it"
        )
    return f"inference uses {kind} 1 at the last epoch; no label took part in choosing it"
