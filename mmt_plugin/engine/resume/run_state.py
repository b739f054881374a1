"""What a checkpoint holds beside networks, optimiser and labels, so that a run goes on as if it had not
stopped.
"""

import os
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase
from fastreid.utils.events import EventWriter, JSONWriter
from torch import Tensor

from mmt_plugin.data.dataset import Item, images_digest
from mmt_plugin.runs.recipe import RESUME_FREE_KEYS, recipe_changes
from mmt_plugin.runs.unwritten import written_until
from mmt_plugin.weights.load_network import CheckpointError

# Values that any writer of fastreid smooths over.
HISTORY_LENGTH = 200


class RunState(HookBase):
    """Random generators, recorded scalars and how far they are written, the configuration and the images.

    Samplers and augmentation draw from generators of their own, made anew from SEED and the epoch (see
    `data.samplers`): their state is the position in the run. The global generators, of dropout above all, are
    restored where a run goes on within an epoch.
    """

    def __init__(
        self,
        cfg: CfgNode,
        items: Sequence[Item],
        writers: Iterable[EventWriter] = (),
        allow_change: Sequence[str] = (),
        told_keys: Sequence[str] = (),
    ):
        """
        Args:
            cfg: the run's configuration.
            items: its training images.
            writers: those that record its scalars; empty away from the main process.
            allow_change: keys that may have another value than the run was started with.
            told_keys: keys that always may, but whose change is recorded.
        """
        self.told_keys = tuple(told_keys)
        self.allow_change = tuple(allow_change)
        # What was allowed so far, each as {"change": "KEY old -> new", "iteration": from which on}.
        self.changes: list[dict[str, Any]] = []
        self.config = cfg.dump()
        self.images = images_digest(items)
        self.writers = list(writers)
        self.metrics_file = os.path.join(cfg.OUTPUT_DIR, "metrics.json")
        self.history_length = max(HISTORY_LENGTH, cfg.SOLVER.ITERS_PER_EPOCH)
        self.resumed: dict[str, Any] = {}

    def before_train(self) -> None:
        """Take up the scalars where the checkpoint left them."""
        storage = self.trainer.storage
        for name, (values, iterations, smooth) in self.resumed.get("scalars", {}).items():
            history = storage.histories()[name]
            for value, iteration in zip(values.tolist(), iterations.tolist(), strict=True):
                history.update(value, iteration)
            storage.latest()[name] = (history.latest(), iteration)
            storage.smoothing_hints()[name] = smooth
        for writer in self.writers:
            written_until(writer).update(self.resumed.get("written", {}))

    def latest(self) -> dict[str, float]:
        """The last value of every scalar; of a run that is resumed after its end, the checkpoint's."""
        if hasattr(self.trainer, "storage"):
            return {name: value for name, (value, _) in self.trainer.storage.latest().items()}
        recorded = self.resumed.get("scalars", {})
        return {name: values[-1].item() for name, (values, _, _) in recorded.items()}

    def restore_generators(self) -> None:
        """Continue the global random generators; for a run that goes on within an epoch."""
        set_generators(self.resumed["generators"])

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        storage = self.trainer.storage
        hints, kept = storage.smoothing_hints(), self.history_length
        written = [written_until(writer) for writer in self.writers if isinstance(writer, JSONWriter)]
        return {
            "generators": generators(),
            "scalars": {
                name: (*_columns(history.values()[-kept:]), hints[name])
                for name, history in storage.histories().items()
            },
            "written": dict(written[0]) if written else {},
            "metrics_bytes": os.path.getsize(self.metrics_file) if os.path.exists(self.metrics_file) else 0,
            "config": self.config,
            "images": self.images,
            **({"changes": self.changes} if self.changes else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Check that this is the same run, and forget what was recorded after the checkpoint.

        Raises:
            CheckpointError: the recipe or the training images are not those of the checkpoint.
        """
        changes = recipe_changes(state["config"], self.config, {*RESUME_FREE_KEYS} - {*self.told_keys})
        refuse_changes(changes, (*self.allow_change, *self.told_keys))
        if state["images"] != self.images:
            raise CheckpointError(
                f"the run to be resumed was trained on other images ({state['images']}; now {self.images}): "
                "check FASTREID_DATASETS, or start anew in another OUTPUT_DIR"
            )
        self.resumed = state
        self.changes = [*state.get("changes", []), *({"change": change} for change in changes)]
        self._forget_metrics(after=state["metrics_bytes"])

    def changed_at(self, iteration: int) -> None:
        """Note from which iteration on, counted from 0, the changes are in force that were just allowed."""
        for change in self.changes:
            change.setdefault("iteration", iteration)

    def changed(self, key: str) -> bool:
        """Whether a key's value was changed as the run was resumed."""
        return any(each["change"].startswith(f"{key} ") for each in self.changes if "iteration" not in each)

    def start_anew(self) -> None:
        """Forget what was recorded by a run that ended before its first checkpoint."""
        self._forget_metrics(after=0)

    def _forget_metrics(self, after: int) -> None:
        """Cut off what metrics.json holds after so many bytes, which will be recorded again."""
        if self.writers and os.path.exists(self.metrics_file):
            # In place: the JSON writer has the file open.
            os.truncate(self.metrics_file, min(os.path.getsize(self.metrics_file), after))


def refuse_changes(changes: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse changes of keys, each "KEY old -> new", other than the allowed ones.

    Raises:
        CheckpointError: naming keys and values.
    """
    refused = [change for change in changes if change.split(" ")[0] not in allowed]
    if refused:
        options = " ".join(f"--allow-change {change.split(' ')[0]}" for change in refused)
        raise CheckpointError(
            f"the run to be resumed has another recipe: {', '.join(refused[:5])}. Resume it with the "
            "values it was started with, or choose another OUTPUT_DIR; where you want the change, add "
            f"{options}"
        )


def _columns(history: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    """Values and iterations."""
    values, iterations = zip(*history, strict=True)
    return torch.tensor(values, dtype=torch.float64), torch.tensor(iterations, dtype=torch.int64)


def generators() -> dict[str, Any]:
    """State of Python's, NumPy's and torch's global generators."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_generators(state: dict[str, Any]) -> None:
    """Restore what `generators` returned."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
