"""Checkpoints of all that a run is: whole files only, loaded as data only."""

import logging
import re
from pathlib import Path
from typing import Any

from fastreid.utils.checkpoint import Checkpointer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mmt_plugin.engine.optimizer import load_moments
from mmt_plugin.runs.run_files import (
    BEST_MODEL,
    FINAL_MODEL,
    LAST_CHECKPOINT,
    REPORT,
    RESULTS,
    STOPPED_MODEL,
)
from mmt_plugin.system.files import copy_whole
from mmt_plugin.weights.load_network import CheckpointError, load_file, load_source_weights, match_keys

logger = logging.getLogger("fastreid.mmt.checkpoint")
# What a run may have switched on since its checkpoint was written.
OPTIONAL = ("grad_scaler", "LabelNoiseHook", "UnreadableHook")
# Checkpoints with names of their own: the best model, and a run that was asked to stop.
BEST, STOPPED = Path(BEST_MODEL).stem, Path(STOPPED_MODEL).stem
PERIODIC = re.compile(r"model_\d{4,}\.pth")


class RunCheckpointer(Checkpointer):
    """fastreid's checkpointer (atomic by the host room) of all that a run is.

    Attributes:
        config_keys: what to check where a file does not fit the model.
    """

    config_keys = "MODEL"

    def __init__(self, model: nn.Module, save_dir: str = "", *, keep: int = 0, **kwargs: Any):
        """
        Args:
            model: what is saved and loaded.
            save_dir: where to.
            keep: how many of the periodic checkpoints stay, the latest ones; 0: all.
            kwargs: those of fastreid's Checkpointer.
        """
        super().__init__(model, save_dir, **kwargs)
        self.keep = keep

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint to resume from, and delete those that it makes superfluous."""
        if last_filename_basename == f"{BEST}.pth":
            return  # for inference only: the records of its epoch may not be complete yet
        super().tag_last_checkpoint(last_filename_basename)
        folder = Path(self.save_dir)
        periodic = sorted(path for path in folder.glob("model_*.pth") if PERIODIC.match(path.name))
        superfluous = [*(periodic[: -self.keep] if self.keep else []), folder / f"{STOPPED}.pth"]
        for path in superfluous:
            if path.name != last_filename_basename:
                path.unlink(missing_ok=True)

    def reopen(self, epoch: int) -> None:
        """Make a finished run one that goes on: its final model becomes an ordinary checkpoint, and what says
        that it is complete goes. Where the run is not finished, nothing is done.

        Args:
            epoch: the last one of the final model, from 0.
        """
        folder = Path(self.save_dir)
        final, ordinary = folder / FINAL_MODEL, folder / f"model_{epoch:04d}.pth"
        if not final.exists():
            return
        # At each moment the last checkpoint is there, and no record is of another model.
        copy_whole(final, ordinary)
        self.tag_last_checkpoint(ordinary.name)
        for name in (RESULTS, REPORT, FINAL_MODEL):
            (folder / name).unlink(missing_ok=True)

    def close_again(self) -> None:
        """Give the last checkpoint the name of the final model, where it lost that to a longer run that did
        not come to be.
        """
        final = Path(self.save_dir, FINAL_MODEL)
        if not final.exists():
            copy_whole(Path(self.get_checkpoint_file()), final)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Load networks and, unless `checkpointables` says otherwise, all that a run is.

        Returns:
            What else the file holds, such as the epoch.

        Raises:
            CheckpointError: the file cannot be read, does not fit the model, or is not all of a run.
        """
        if not path:
            return super().load(path)
        checkpoint = load_file(path)
        wanted = list(self.checkpointables) if checkpointables is None else checkpointables
        absent = [key for key in wanted if key not in checkpoint and key not in OPTIONAL]
        if "model" not in checkpoint or absent:
            raise CheckpointError(
                f"checkpoint {path!r} is not all of a run: it holds no {', '.join(absent) or 'model'}, only "
                f"{', '.join(map(str, checkpoint))}"
            )
        # The run's configuration first: what differs there explains whatever else does not fit.
        for key in sorted(wanted, key=lambda key: key != "RunState"):
            if key in checkpoint:
                part, state = self.checkpointables[key], checkpoint.pop(key)
                if not (isinstance(part, Optimizer) and self._has_another_optimizer()):
                    _load_part(part, state, key, path)
        self._load_networks(checkpoint.pop("model"), path)
        return checkpoint

    def _has_another_optimizer(self) -> bool:
        """Whether the run was allowed to go on with another: the old one's state means nothing to it."""
        state = self.checkpointables.get("RunState")
        return state is not None and state.changed("SOLVER.OPT")

    def _load_networks(self, weights: dict[str, Tensor], path: str) -> None:
        match_keys(path, self.model.state_dict(), weights, self.config_keys)
        self.model.load_state_dict(weights)


def _load_part(part: Any, state: dict, name: str, path: str) -> None:
    """Load what is not in the configuration; a schedule is all in it and in the position in the run."""
    if isinstance(part, LRScheduler):
        return
    if not isinstance(part, Optimizer):
        part.load_state_dict(state)
        return
    try:
        load_moments(part, state)
    except ValueError as error:
        raise CheckpointError(
            f"checkpoint {path!r}: its {name} is of other parameters ({error}); check MODEL and MMT, and the "
            "keys of SOLVER that tell parameters apart, such as HEADS_LR_FACTOR"
        ) from error


class MMTCheckpointer(RunCheckpointer):
    """Checkpoints of a MutualMeanTeaching model, whose live classes are followed as they load."""

    config_keys = (
        "MODEL.BACKBONE, MODEL.HEADS, MMT.NUM_PAIRS, MMT.EMA.ENABLED, MMT.DSBN.ENABLED, MMT.MOCO.WEIGHT, "
        "MMT.CLASSIFIER"
    )

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict:
        """Like every run's; weights alone may also be of fastreid's Baseline, or of another project, whose
        one network all networks then are.
        """
        alone = not (self.checkpointables if checkpointables is None else checkpointables)
        if not path or not alone or _is_of_a_run(load_file(path)):
            return super().load(path, checkpointables)
        for student in self.model.students:
            load_source_weights(student, path)
        self.model.copy_students_to_teachers()
        return {}

    def _load_networks(self, weights: dict[str, Tensor], path: str) -> None:
        self.model.match_classes(weights)
        super()._load_networks(weights, path)


def _is_of_a_run(content: dict) -> bool:
    model = content.get("model")
    return isinstance(model, dict) and "students.0.heads.weight" in model


def refuse_overwriting(folder: str) -> None:
    """Refuse to start a run where there is one.

    Raises:
        CheckpointError: the folder holds a run, or the best model of one.
    """
    if any(Path(folder, name).exists() for name in (LAST_CHECKPOINT, BEST_MODEL)):
        raise CheckpointError(
            f"{folder!r} already holds a run: add --resume to continue it, or choose another OUTPUT_DIR"
        )
