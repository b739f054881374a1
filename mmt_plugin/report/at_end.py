"""The run report at the end of a run. Nothing here can fail a training that is complete."""

import logging
import shlex
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm

from mmt_plugin.data.items import build_dataset
from mmt_plugin.engine.trainer import MMTTrainer
from mmt_plugin.runs.run_files import RESULTS

from .page import PAGE, write_report
from .ranking_record import RANKING, rank_queries
from .records import FOLDER, save_record

logger = logging.getLogger("fastreid.mmt.report")


def record_ranking(trainer: MMTTrainer) -> None:
    """Keep some ranked lists of the first test set, as the last evaluation found them. Several processes hold
    a share of the features each, and keep none.
    """
    if not trainer.cfg.REPORT.ENABLED or not trainer.evaluators or comm.get_world_size() > 1:
        return
    name, evaluator = next(iter(trainer.evaluators.items()))
    dataset = build_dataset(name)
    features = evaluator.features(int(trainer.raw_model.inference_index))
    try:
        record = rank_queries(name, dataset.query, dataset.gallery, *features)
        if record is not None:
            save_record(record, Path(trainer.cfg.OUTPUT_DIR, FOLDER, RANKING))
    except Exception:
        logger.exception("The ranked results were not kept: the report will lack them. The run goes on")


def report(cfg: CfgNode) -> None:
    """Write OUTPUT_DIR's report unless it has that of this training already; an error is logged, with the
    command that repeats it.
    """
    if not cfg.REPORT.ENABLED or not comm.is_main_process():
        return
    try:
        page, results = Path(cfg.OUTPUT_DIR, PAGE), Path(cfg.OUTPUT_DIR, RESULTS)
        if not page.exists() or page.stat().st_mtime < results.stat().st_mtime:
            logger.info(f"Report: {write_report(cfg.OUTPUT_DIR)}")
    except Exception:
        logger.exception(
            "The report could not be written. The training is complete, its model and results are on disk; "
            f"to try again: mmt report {shlex.quote(cfg.OUTPUT_DIR)}"
        )
