"""Training: the trainer, its hooks, and the pipeline from source pre-training to the adapted model."""

from mmt_plugin.runs.record import write_results

from .pipeline import run
from .trained_model import load_for_evaluation
from .trainer import MMTTrainer

__all__ = ["MMTTrainer", "load_for_evaluation", "run", "write_results"]
