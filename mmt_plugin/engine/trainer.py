"""The trainer of source pre-training, clustering baselines and MMT: fastreid's, plus labels that change."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.engine import defaults, hooks
from fastreid.engine.train_loop import TrainerBase
from fastreid.modeling.meta_arch import build_model
from fastreid.utils import comm
from fastreid.utils.env import seed_all_rng
from fastreid.utils.events import EventWriter
from torch import nn

from mmt_plugin.data.build import build_train_loader, end_workers
from mmt_plugin.data.items import training_items
from mmt_plugin.data.joint import build_joint_loader
from mmt_plugin.data.preflight import check_test_sets
from mmt_plugin.engine.hooks.bn_averages import BatchNormHook
from mmt_plugin.engine.hooks.checkpoints import CheckpointHook
from mmt_plugin.engine.hooks.ema import EMAHook
from mmt_plugin.engine.hooks.epoch_report import AdaptationReport
from mmt_plugin.engine.hooks.final_quality import FinalQualityHook
from mmt_plugin.engine.hooks.ground_truth import GroundTruthHook
from mmt_plugin.engine.hooks.label_noise import LabelNoiseHook
from mmt_plugin.engine.hooks.learning_rate import LearningRateHook
from mmt_plugin.engine.hooks.memory_updates import MemoryHook
from mmt_plugin.engine.hooks.progress import ProgressBar
from mmt_plugin.engine.hooks.pseudo_labels import PseudoLabelHook
from mmt_plugin.engine.hooks.selection import (
    BestModelHook,
    GuardedSelectionHook,
    SelectionHook,
    StableSelectionHook,
    findings_of,
)
from mmt_plugin.engine.hooks.source_classes import SourceClassesHook
from mmt_plugin.engine.hooks.times import EpochTimesHook, TimedEvalHook, TrainingTimeHook, timed
from mmt_plugin.engine.hooks.unreadable_images import UnreadableHook
from mmt_plugin.engine.resume.checkpointer import MMTCheckpointer
from mmt_plugin.engine.resume.resumable_trainer import ResumableTrainer
from mmt_plugin.modeling import MutualMeanTeaching
from mmt_plugin.pseudo_labels import PseudoLabels
from mmt_plugin.runs.run_files import BEST_MODEL
from mmt_plugin.weights.load_network import load_source_weights

from .banner import log_banner
from .evaluate_model import EachNetworkEvaluator, evaluate_networks
from .optimizer import build_optimizer, forget_moments
from .schedule import Schedule
from .trained_model import without_pretraining
from .training_step import TrainingStep

logger = logging.getLogger("fastreid.mmt")


class MMTTrainer(ResumableTrainer):
    """fastreid's trainer for models whose labels and classifier rows are renewed while it runs."""

    def __init__(self, cfg: CfgNode, allow_change: Sequence[str] = ()):
        """
        Args:
            cfg: checked.
            allow_change: keys that may have another value than the run to be resumed was started with.
        """
        TrainerBase.__init__(self)
        self.cfg = cfg
        clustered = cfg.PSEUDO_LABELS.METHOD != "ground_truth"
        items = training_items(
            cfg.DATASETS.TARGETS if clustered else cfg.DATASETS.NAMES, cfg.DATASETS.COMBINEALL
        )
        self.num_target = len(items)
        check_test_sets(cfg.DATASETS.TESTS)
        self.source_items = (
            training_items(cfg.DATASETS.NAMES, cfg.DATASETS.COMBINEALL) if cfg.MMT.JOINT.ENABLED else []
        )
        if self.source_items:
            loader = build_joint_loader(cfg, self.source_items, items)
            self.num_source_classes = loader.num_source_classes
        else:
            loader = build_train_loader(cfg, items)
            self.num_source_classes = 0
        self.iters_per_epoch = len(loader.sampler)
        log_banner(cfg, len(items), self.iters_per_epoch)

        seed_all_rng(cfg.SEED)
        model = self.build_model(without_pretraining(cfg) if cfg.MMT.WEIGHTS else cfg)
        optimizer = build_optimizer(cfg, model.students)
        self._trainer = TrainingStep(cfg, model, loader, optimizer)
        self.schedule = Schedule(cfg, optimizer, self.iters_per_epoch)

        self.label_hook = PseudoLabelHook(cfg, items) if clustered else GroundTruthHook(items)
        self.checkpointer = MMTCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            keep=cfg.SOLVER.CHECKPOINT_KEEP,
            save_to_disk=comm.is_main_process(),
            optimizer=optimizer,
            **self.schedule.schedulers,
        )
        self.evaluators: dict[str, EachNetworkEvaluator] = {}
        self.test_sets: dict[str, dict[str, int]] = {}
        cosine = cfg.SOLVER.SCHED == "CosineAnnealingLR"
        self.prepare_run(items, allow_change, ("SOLVER.MAX_EPOCH",) if cosine else ())

    @property
    def num_clusters(self) -> int | None:
        """Clusters of the labels in use; None with annotations or before the first clustering."""
        labels = self.label_hook.labels
        return labels.num_clusters if isinstance(labels, PseudoLabels) else None

    @property
    def selected_epoch(self) -> int | None:
        """Which epoch's model is the chosen one, counted from 1; known to the main process."""
        if self.selection is None:
            return self.max_epoch
        return None if self.selection.epoch is None else self.selection.epoch + 1

    @property
    def label_free_quality(self) -> dict[str, float]:
        """What was last found of the labels without annotations, by name; see the function of this name."""
        return findings_of(self.run_state.latest())["label_free"]

    @property
    def findings(self) -> dict:
        """What is known of the labels of the chosen model: "clusters", and "label_free" by measure."""
        latest = {"clusters": self.num_clusters, **findings_of(self.run_state.latest())}
        return latest if self.selection is None else {**latest, **self.selection.findings}

    def build_hooks(self, writers: list[EventWriter]) -> list[hooks.HookBase]:
        """fastreid's hooks, with labels before each epoch and the EMA update after each step.

        The schedule moves on, and checkpoints are written, when evaluation and records are complete: what a
        checkpoint follows is on disk, and what comes after it can be done again.
        """
        cfg = self.cfg
        clustered = isinstance(self.label_hook, PseudoLabelHook)
        unjudged = clustered and (cfg.MMT.SELECTION.RULE in ("stable", "guarded") or not cfg.DATASETS.TESTS)
        self.selection = _build_selection(cfg)
        ret = [
            hooks.IterationTimer(),
            self.run_state,
            SourceClassesHook(cfg, self.source_items, self.num_target) if self.source_items else None,
            self.label_hook,
            LabelNoiseHook(self.label_hook.truth) if clustered and cfg.REPORT.LABEL_NOISE else None,
            TrainingTimeHook(),
            EMAHook(cfg.MMT.EMA.ALPHA, cfg.MMT.EMA.WARMUP) if cfg.MMT.EMA.ENABLED else None,
            MemoryHook() if cfg.MMT.CLASSIFIER != "weights" else None,
            ProgressBar(),
            UnreadableHook() if cfg.DATALOADER.ON_BAD_IMAGE == "skip" else None,
            BatchNormHook(),
            TimedEvalHook(cfg.TEST.EVAL_PERIOD, self.evaluate),
            FinalQualityHook() if unjudged else None,
            self.selection,
            AdaptationReport(cfg),
            hooks.PeriodicWriter(writers, 200),
            LearningRateHook(self.schedule),
            CheckpointHook(cfg.SOLVER.CHECKPOINT_PERIOD),
            EpochTimesHook(),
            self.stop,
        ]
        return [hook for hook in ret if hook is not None]

    def go_to(self, epoch: int, step: int) -> None:
        """Let the learning rate, and which layers are frozen, be those of the position in the run."""
        self.schedule.go_to(epoch, step)
        if self.cfg.SOLVER.FREEZE_ITERS:
            for group in self.optimizer.param_groups:  # of a checkpoint that does not count them
                group.setdefault("steps_done", epoch * self.iters_per_epoch + step)

    def start_from_weights(self) -> None:
        """Start from MMT.WEIGHTS or MODEL.WEIGHTS."""
        if self.cfg.MMT.WEIGHTS:
            for student, path in zip(self.raw_model.students, self.cfg.MMT.WEIGHTS, strict=True):
                load_source_weights(student, path)
            self.raw_model.copy_students_to_teachers()
        else:
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])

    def set_labels(self, labels: np.ndarray) -> None:
        """Train on these N labels from the next epoch on; -1 leaves an image out. In a joint label space they
        are those of the target, counted from 0.
        """
        self.data_loader.set_labels(labels)

    def restart_classifiers(self, rows: np.ndarray | None, num_classes: int) -> None:
        """Give all networks new classifier rows, C x D (random where None), after the source classes, and
        let the optimiser forget the old ones; with MMT.RESET_OPTIMIZER, all that it has gathered.
        """
        rows = None if rows is None else torch.as_tensor(rows)
        with timed("classifier", self.storage):
            changed = self.raw_model.set_classifiers(rows, num_classes, keep=self.num_source_classes)
        with timed("optimizer", self.storage):
            forget = None if self.cfg.MMT.RESET_OPTIMIZER else changed
            forget_moments(self.optimizer, forget, keep=self.num_source_classes)

    def reset_memories(self, labels: np.ndarray, features: torch.Tensor) -> None:
        """Start the memories from N new labels and features V x N x D, after the source classes."""
        with timed("classifier", self.storage):
            self.raw_model.reset_memories(torch.as_tensor(labels), features, keep=self.num_source_classes)
        if self.cfg.MMT.RESET_OPTIMIZER:
            forget_moments(self.optimizer)

    def close(self) -> None:
        """End the loaders' worker processes."""
        super().close()
        if isinstance(self.label_hook, PseudoLabelHook):
            end_workers(self.label_hook.loader)

    def _distribute(self, model: MutualMeanTeaching) -> nn.Module:
        """Wrap for several processes; anew in every epoch, because classifiers change their shape."""
        if comm.get_world_size() == 1:
            return model
        return defaults.DistributedDataParallel(
            model, device_ids=[comm.get_local_rank()], broadcast_buffers=False
        )

    def evaluate(self) -> dict:
        """Metrics of the model as it is; see :meth:`test`. The features are kept in ``evaluators``."""
        with self.stop.phase(self.iters_per_epoch):
            results, self.evaluators, self.test_sets = evaluate_networks(self.cfg, self.raw_model)
            self._last_eval_results = results
        return self._last_eval_results

    def evaluate_chosen(self) -> dict:
        """Metrics of the model that MMT.SELECTION.RULE chose, which the networks are from now on."""
        path = str(Path(self.cfg.OUTPUT_DIR, BEST_MODEL))
        if self.selected_epoch is not None or not comm.is_main_process():
            self.checkpointer.load(path, checkpointables=[])
        return self.evaluate()

    @classmethod
    def build_model(cls, cfg: CfgNode) -> MutualMeanTeaching:
        """Like fastreid's, but logs the model's size rather than every layer of up to four networks."""
        model = build_model(cfg)
        millions = sum(p.numel() for p in model.students[0].parameters()) / 1e6
        logger.info(
            f"{len(model.students)} student(s) and {len(model.teachers)} teacher(s) of {millions:.2f} M "
            "parameters"
        )
        return model

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict:
        """Metrics in percent of every inference network on every set of DATASETS.TESTS.

        Returns:
            For one test set the chosen network's metrics by name, and each network's as "teacher1/mAP" and so
            on; for several sets a dict of such dicts.
        """
        return evaluate_networks(cfg, getattr(model, "module", model))[0]


def _build_selection(cfg: CfgNode) -> BestModelHook | None:
    """What MMT.SELECTION.RULE asks for; None for the last epoch's model."""
    if cfg.MMT.SELECTION.RULE == "best":
        name = cfg.MMT.SELECTION.DATASET
        return SelectionHook(name, "" if len(cfg.DATASETS.TESTS) == 1 else f"{name}/")
    rules = {"stable": StableSelectionHook, "guarded": GuardedSelectionHook}
    return rules[cfg.MMT.SELECTION.RULE]() if cfg.MMT.SELECTION.RULE in rules else None
