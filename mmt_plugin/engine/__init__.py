"""Training: the trainer, its hooks, and the pipeline from source pre-training to the adapted model."""

from .pipeline import run, write_results
from .trainer import MMTTrainer, load_for_evaluation

__all__ = ["MMTTrainer", "load_for_evaluation", "run", "write_results"]
