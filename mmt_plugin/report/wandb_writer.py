"""Scalars of a run for Weights & Biases, by fastreid's interface of event writers."""

import uuid
from collections import defaultdict
from pathlib import Path

import yaml
from fastreid.config import CfgNode
from fastreid.utils.events import EventWriter

from mmt_plugin.runs.unwritten import unwritten_scalars

# In OUTPUT_DIR: a run that is resumed goes on under this name.
ID_FILE = "wandb_run_id"


class WandbWriter(EventWriter):
    """Sends what metrics.json gets to REPORT.WANDB_PROJECT.

    Raises:
        ImportError: wandb is not installed; the message says how to install it.
    """

    def __init__(self, cfg: CfgNode, window_size: int = 20):
        try:
            import wandb
        except ImportError as error:
            raise ImportError(
                "REPORT.WANDB_PROJECT is set, and wandb is not installed: pip install wandb"
            ) from error
        self._window_size = window_size
        self._run = wandb.init(
            project=cfg.REPORT.WANDB_PROJECT,
            dir=cfg.OUTPUT_DIR,
            id=_run_id(cfg.OUTPUT_DIR),
            resume="allow",
            config=yaml.safe_load(cfg.dump()),
        )

    def write(self) -> None:
        """Send the scalars that have changed since the last call, by iteration."""
        lines = defaultdict(dict)
        for name, value, iteration in unwritten_scalars(self):
            lines[iteration][name] = value
        for iteration in sorted(lines):
            self._run.log(lines[iteration], step=iteration)

    def close(self) -> None:
        self._run.finish()


def _run_id(folder: str) -> str:
    file = Path(folder, ID_FILE)
    if not file.exists():
        file.write_text(uuid.uuid4().hex)
    return file.read_text()
