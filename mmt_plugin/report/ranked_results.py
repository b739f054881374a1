"""Ranked results of a run's last evaluation, as a picture."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.utils import comm

from mmt_plugin.data.items import build_dataset

from . import draw_rank_list

if TYPE_CHECKING:
    from mmt_plugin.engine.trainer import MMTTrainer


logger = logging.getLogger("fastreid.mmt")


def draw_results(trainer: "MMTTrainer") -> None:
    """Draw the first test set's ranked results, as the last evaluation found them, as ``rank_list.jpg``."""
    if not trainer.evaluators or comm.get_world_size() > 1:
        return
    name, evaluator = next(iter(trainer.evaluators.items()))
    dataset = build_dataset(name)
    query, gallery = evaluator.features(int(trainer.raw_model.inference_index))
    path = Path(trainer.cfg.OUTPUT_DIR, "rank_list.jpg")
    draw_rank_list(dataset.query, dataset.gallery, query, gallery, path)
    logger.info(f"Ranked results of {name}: {path}")
