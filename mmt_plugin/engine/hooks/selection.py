"""Which epoch's model is kept as ``model_best``: by a labelled set, or by a score that needs no labels."""

import logging
from collections.abc import Mapping
from pathlib import Path

from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm

from mmt_plugin.engine.evaluate_model import network_names
from mmt_plugin.engine.features import reestimate_bn_statistics, running_statistics_kept
from mmt_plugin.engine.resume.checkpointer import BEST
from mmt_plugin.weights.checkpoint_files import load_weights

# What the scalars begin with that are computed without annotations.
LABEL_FREE = "label_free/"

# What the models are called that a run starts from.
START, START_BN = "the starting model", "the starting model with BN statistics of the target"

logger = logging.getLogger("fastreid.mmt")


class BestModelHook(HookBase):
    """Keep the epoch of the highest score. Base of the rules; what a rule adds is where scores come from."""

    def __init__(self) -> None:
        self.best = self.best_on_disk = -1.0
        self.epoch: int | None = None
        # What was known of the labels when the best epoch was found.
        self.findings: dict = {}

    def before_train(self) -> None:
        """Never replace the model of an earlier, interrupted part of the run by a worse one."""
        path = Path(self.trainer.checkpointer.save_dir, f"{BEST}.pth")
        if path.exists():
            # Mapped into memory: only the number is read, not the weights.
            self.best_on_disk = load_weights(str(path), mmap=True)[type(self).__name__]["best"]

    def consider(self, score: float, epoch: int, reason: str, findings: dict | None = None) -> None:
        """Save the model as it is now if its score is the best so far.

        Args:
            score: the higher the better.
            epoch: after which the model is so, from 0; -1: before the first.
            reason: a clause for the log.
            findings: of its labels; by default those of the last label step.
        """
        if score <= self.best:
            return
        self.best, self.epoch, self.findings = score, epoch, findings or self._findings()
        if score > self.best_on_disk:
            what = f"Epoch {epoch + 1}" if epoch >= 0 else "The start"
            logger.info(f"{what} is the best so far: {reason}")
            self.trainer.checkpointer.save(BEST, epoch=epoch)

    def state_dict(self) -> dict:
        return {"best": self.best, "epoch": self.epoch, "findings": self.findings}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.epoch = state["best"], state.get("epoch")
        self.findings = state.get("findings", {})

    def _findings(self) -> dict:
        """Of the last label step: the number of clusters, and what can be told without annotations."""
        return findings_of({name: value for name, (value, _) in self.trainer.storage.latest().items()})


def findings_of(scalars: Mapping[str, float]) -> dict:
    """Of a label step's scalars: the number of clusters, and what can be told without annotations."""
    found = {name.removeprefix(LABEL_FREE): v for name, v in scalars.items() if name.startswith(LABEL_FREE)}
    clusters = {"clusters": int(scalars["clusters"])} if "clusters" in scalars else {}
    return {**clusters, "label_free": found}


class SelectionHook(BestModelHook):
    """The best mAP of any network on a labelled set, which becomes the one for inference. For
    MMT.SELECTION.RULE "best".
    """

    def __init__(self, dataset: str, prefix: str):
        """
        Args:
            dataset: name of the labelled set.
            prefix: what its metrics are called by, "" or "<dataset>/".
        """
        super().__init__()
        self.dataset, self.prefix = dataset, prefix

    def after_epoch(self) -> None:
        model, latest = self.trainer.raw_model, self.trainer.storage.latest()
        names = network_names(model)
        scores = [latest.get(f"{self.prefix}{name}/mAP", (-1.0, -1)) for name in names]
        if not comm.is_main_process() or any(when != self.trainer.storage.iter for _, when in scores):
            return  # not evaluated in this epoch
        values = [value for value, _ in scores]
        chosen = max(range(len(values)), key=values.__getitem__)
        model.inference_index.fill_(chosen)
        reason = (
            f"mAP {values[chosen]:.2f} on {self.dataset} ({names[chosen]}), selected with that set's labels"
        )
        self.consider(values[chosen], self.trainer.epoch, reason)


class StableSelectionHook(BestModelHook):
    """The best score of `label_free_quality`. For MMT.SELECTION.RULE "stable".

    An epoch's model is scored by the labels that it gives, which are made when the next epoch begins; those
    of the last epoch by `FinalQualityHook`. The models that a run starts from are not candidates: there is
    nothing yet that they could be stable against.
    """

    SCORE = f"{LABEL_FREE}score"

    def before_epoch(self) -> None:
        if not self.trainer.steps_done and self.trainer.epoch > 0:
            self._consider(self.trainer.epoch - 1)

    def after_epoch(self) -> None:
        if self.trainer.epoch + 1 == self.trainer.max_epoch:
            self._consider(self.trainer.epoch)
            if comm.is_main_process() and self.epoch is None:
                logger.warning("No epoch has a label-free score: the last one's model is kept")
                self.consider(0.0, self.trainer.epoch, "it is the last")

    def _consider(self, epoch: int) -> None:
        score, when = self.trainer.storage.latest().get(self.SCORE, (0.0, -1))
        if comm.is_main_process() and when == self.trainer.storage.iter:
            self.consider(score, epoch, f"{self.SCORE} {score:.4f}, no label took part")


class GuardedSelectionHook(StableSelectionHook):
    """The best `guard` of the models that a run starts from, with the BN statistics they have and with those
    of the target, and of all epochs. For MMT.SELECTION.RULE "guarded".

    The starting models are "epoch" -1, told as 0.
    """

    SCORE = f"{LABEL_FREE}guard"

    def __init__(self) -> None:
        super().__init__()
        # The best of the starting models: which it is, and its score.
        self.start: tuple[str, float] = (START, 0.0)

    def before_epoch(self) -> None:
        if self.trainer.steps_done:
            return
        if self.trainer.epoch:
            self._consider(self.trainer.epoch - 1)
            return
        self._consider(-1)
        self.start = (START, max(self.best, 0.0))
        model, loader = self.trainer.raw_model, self.trainer.label_hook.loader
        with running_statistics_kept(model):
            reestimate_bn_statistics(model, loader)
            *_, scalars = self.trainer.label_hook.cluster_now()
            score = scalars.get(self.SCORE, 0.0)
            if comm.is_main_process() and score > self.start[1]:
                self.start = (START_BN, score)
                reason = f"{START_BN}, {self.SCORE} {score:.4f}, no label took part"
                self.consider(score, -1, reason, findings_of(scalars))

    def state_dict(self) -> dict:
        return {**super().state_dict(), "start": list(self.start)}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.start = tuple(state["start"])
