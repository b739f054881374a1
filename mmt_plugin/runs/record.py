"""What a run writes into its folder about itself."""

import json
import logging
import os
from pathlib import Path

import yaml
from fastreid.config import CfgNode
from fastreid.utils import comm

from mmt_plugin.system.files import replace_when_complete
from mmt_plugin.weights.network import CheckpointError

from .description import describe_run
from .files import BEST_MODEL, CONFIG, FINAL_MODEL, RESULTS
from .recipe import RESUME_FREE_KEYS, recipe_changes

logger = logging.getLogger("fastreid.mmt")


def recorded_metrics(cfg: CfgNode) -> dict | None:
    """What a stage that is complete has recorded; None for one that is not, or that is to go on for more
    epochs.
    """
    results_file = Path(cfg.OUTPUT_DIR, RESULTS)
    if not results_file.exists():
        return None
    record = json.loads(results_file.read_text())
    config = Path(cfg.OUTPUT_DIR, CONFIG).read_text()
    epochs = record.get("run", {}).get("epochs") or yaml.safe_load(config)["SOLVER"]["MAX_EPOCH"]
    if epochs < cfg.SOLVER.MAX_EPOCH:
        logger.info(f"This run was complete after {epochs} epochs; it goes on to {cfg.SOLVER.MAX_EPOCH}")
        return None
    changes = recipe_changes(config, cfg.dump(), {*RESUME_FREE_KEYS} - {"SOLVER.MAX_EPOCH"})
    if epochs > cfg.SOLVER.MAX_EPOCH or changes:
        changes = changes or [f"SOLVER.MAX_EPOCH {epochs} -> {cfg.SOLVER.MAX_EPOCH}"]
        raise CheckpointError(
            f"{cfg.OUTPUT_DIR!r} holds a complete run of another recipe: {', '.join(changes[:5])}. "
            "Nothing of it is left to train: give a larger SOLVER.MAX_EPOCH, or choose another OUTPUT_DIR"
        )
    logger.info(f"This run is complete: {results_file}")
    return record["metrics"]


def make_folder(cfg: CfgNode) -> None:
    """Make OUTPUT_DIR where it is missing."""
    if comm.is_main_process():
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    comm.synchronize()


def record_recipe(cfg: CfgNode) -> None:
    """Write config.yaml into OUTPUT_DIR."""
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
        findings: what else a training found: clusters, label-free measures, the selected epoch, and, if
            any, "changes" of the recipe while it ran, which make it another recipe.
    """
    if comm.is_main_process():
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


def chosen_model(cfg: CfgNode) -> str:
    """File name of the model that MMT.SELECTION.RULE chooses."""
    return FINAL_MODEL if cfg.MMT.SELECTION.RULE == "last" else BEST_MODEL


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
