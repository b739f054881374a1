"""New labels at the start of every epoch. Shapes: N images, C clusters, D feature size."""

import logging
import time
from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm
from torch import Tensor

from mmt_plugin.data.build import build_extraction_loader
from mmt_plugin.data.dataset import Item
from mmt_plugin.data.items import dense_ids, exclusive_tracklets, seen_together, training_tracklets
from mmt_plugin.data.preflight import check_cameras
from mmt_plugin.engine.features import extract_features, extract_layouts
from mmt_plugin.errors import UserError
from mmt_plugin.pseudo_labels import PseudoLabels, agreement, cluster, label_free_quality
from mmt_plugin.pseudo_labels.quality.nuisances import nuisance_warnings, pose_groups
from mmt_plugin.pseudo_labels.quality.size import warnings_of
from mmt_plugin.pseudo_labels.timing import Stages
from mmt_plugin.report.label_record import LabelRecorder
from mmt_plugin.report.records import RecordError

from .selection import LABEL_FREE
from .times import timed

logger = logging.getLogger("fastreid.mmt.labels")


class DegenerateClusteringError(UserError, RuntimeError):
    """The first clustering found fewer than two clusters, so there is nothing to train on."""


class PseudoLabelHook(HookBase):
    """Cluster the teachers' features of all training images, and start the epoch from the clusters.

    Fewer than two clusters cannot be trained on: the previous epoch's labels are then kept, with a warning;
    at the first epoch there are none and the run stops with an error that says what to change.
    """

    def __init__(self, cfg: CfgNode, items: list[Item]):
        self.cfg = cfg
        self.loader = build_extraction_loader(cfg, items)
        truth = dense_ids([item[1] for item in items])
        # Only ever compared with, for the log. Sets without annotations give every image the same identity.
        self.truth = truth if truth.max() > 0 else None
        check_cameras(cfg, items)
        self.cameras = dense_ids([item[2] for item in items])
        must_link = cfg.PSEUDO_LABELS.MUST_LINK
        self.tracklets = training_tracklets(cfg.DATASETS.TARGETS, items) if must_link else None
        self.exclusive = None
        if cfg.PSEUDO_LABELS.CANNOT_LINK:
            self.exclusive = exclusive_tracklets(cfg.DATASETS.TARGETS, items)
        self.together = seen_together(cfg.DATASETS.TARGETS, items)
        self.labels: PseudoLabels | None = None
        self.poses: np.ndarray | None = None
        self.recorder = None
        if cfg.REPORT.ENABLED and comm.is_main_process():
            self.recorder = LabelRecorder(cfg.OUTPUT_DIR, items, self.truth, cfg.REPORT.SAMPLE)

    def before_epoch(self) -> None:
        if self.trainer.steps_done:  # resumed within the epoch: its labels and classifiers are there
            self.trainer.set_labels(self.labels.labels)
            return
        with self.trainer.stop.phase(steps=0):
            found, features, networks, scalars = self.cluster_now()
        self.trainer.storage.put_scalars(smoothing_hint=False, **scalars)
        if found.num_clusters < 2:
            self._keep_previous(found)
        else:
            self.labels = found
            if self.cfg.MMT.CLASSIFIER == "weights":
                self.trainer.restart_classifiers(found.centroids, found.num_clusters)
            else:
                self.trainer.reset_memories(found.labels, networks)
        with timed("sampler", self.trainer.storage):
            self.trainer.set_labels(self.labels.labels)
        with timed("recording", self.trainer.storage):
            self._keep_for_report(features)

    def cluster_now(self) -> tuple[PseudoLabels, Tensor, Tensor, dict[str, float]]:
        """Cluster the training images as the networks see them now. Changes nothing.

        Returns:
            The clusters, the features (N x D) they were made of, those of each network (V x N x D), and what
            the clusters are like, by the name of the scalar; without annotations only on the main process.
        """
        start = time.perf_counter()
        if self.poses is None and self.cfg.MMT.SELECTION.RULE == "guarded":
            self.poses = pose_groups(extract_layouts(self.loader).numpy())
        networks = extract_features(self.trainer.raw_model, self.loader)
        features = networks.mean(dim=0)
        if self.cfg.PSEUDO_LABELS.NORMALIZE:
            features = F.normalize(features, dim=1)
        extracted, stages = time.perf_counter(), Stages()
        found = self._cluster_once(features, stages)
        clustered = time.perf_counter()
        scalars = {
            "clusters": found.num_clusters,
            "outliers": found.num_outliers,
            "largest_cluster": found.largest,
            "extraction_seconds": extracted - start,
            "clustering_seconds": clustered - extracted,
            **{f"seconds/{name.replace(' ', '_')}": seconds for name, seconds in stages.seconds.items()},
        }
        if self.truth is not None:
            scalars.update(agreement(np.asarray(found.labels), self.truth))
        if comm.is_main_process():
            cameras = self.cameras if self.cameras.max() > 0 else None
            quality = label_free_quality(
                found,
                features.numpy(),
                networks.numpy(),
                previous=self.labels,
                cameras=cameras,
                together=self.together,
                poses=self.poses,
            )
            for sentence in nuisance_warnings(quality):
                logger.warning(sentence)
            scalars.update({f"{LABEL_FREE}{name}": value for name, value in quality.items()})
        scalars["judging_seconds"] = time.perf_counter() - clustered
        return found, features, networks, scalars

    def state_dict(self) -> dict:
        return {"labels": None if self.labels is None else self.labels.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.labels = None if state["labels"] is None else PseudoLabels.from_state_dict(state["labels"])

    def _cluster_once(self, features: Tensor, stages: Stages) -> PseudoLabels:
        """Cluster on the main process, for all processes; images that cannot be read belong to no cluster."""
        unreadable = features.isnan().any(dim=1).numpy()
        self.trainer.data_loader.skipped[-1].add(np.flatnonzero(unreadable).tolist())
        found = None
        if comm.is_main_process():
            found = cluster(
                features[~unreadable],
                self.cfg,
                cameras=self.cameras[~unreadable],
                tracklets=None if self.tracklets is None else self.tracklets[~unreadable],
                cannot_link=self.exclusive,
                previous=self._previous(),
                device=self.trainer.raw_model.device,
                stages=stages,
            )
            for sentence in warnings_of(found, self.cfg.PSEUDO_LABELS):
                logger.warning(sentence)
            labels = np.full(len(unreadable), -1)
            labels[~unreadable] = found.labels
            found = replace(found, labels=labels)
        return comm.all_gather(found)[0]

    def _previous(self) -> PseudoLabels | None:
        """What the label step keeps of the labels in use: not their radius, while the rule chooses anew."""
        dbscan = self.cfg.PSEUDO_LABELS.DBSCAN
        if self.labels is None or dbscan.EPS_RULE != "auto" or self.trainer.epoch >= dbscan.AUTO_EPOCHS:
            return self.labels
        return replace(self.labels, eps=None)

    def _keep_previous(self, found: PseudoLabels) -> None:
        message = (
            f"clustering gave {found.num_clusters} cluster(s) and {found.num_outliers} outliers "
            f"of {len(found.labels)} images"
        )
        if self.labels is None:
            raise DegenerateClusteringError(
                f"{message}. Raise PSEUDO_LABELS.DBSCAN.EPS or lower PSEUDO_LABELS.DBSCAN.MIN_SAMPLES if "
                "most images are outliers, lower EPS if all fell into one cluster, and check that "
                "the source weights were loaded"
            )
        logger.warning(f"{message}: keeping the previous epoch's {self.labels.num_clusters} clusters")

    def _keep_for_report(self, features: Tensor) -> None:
        """What the run report shows of the labels in use. A full disk ends no run here."""
        if self.recorder is not None:
            try:
                self.recorder.record(self.trainer.epoch, features.numpy(), self.labels)
            except (OSError, RecordError) as error:
                logger.warning(f"This label step was not kept for the report: {error}")
