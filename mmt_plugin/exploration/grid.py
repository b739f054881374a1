"""The label step over a grid of settings, and what can be told of each. Shapes: N images, D feature size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
from fastreid.config import CfgNode
from scipy.sparse import csr_array

from mmt_plugin.pseudo_labels.clustering.auto_radius import RADII
from mmt_plugin.pseudo_labels.clustering.cannot_link import conflicts
from mmt_plugin.pseudo_labels.clustering.dbscan import dbscan
from mmt_plugin.pseudo_labels.jaccard.graph import jaccard_graph
from mmt_plugin.pseudo_labels.quality.agreement import agreement
from mmt_plugin.pseudo_labels.quality.label_free import guard, silhouette, stability
from mmt_plugin.pseudo_labels.quality.nuisances import follows, pose_groups

from .views import Views

K1, MIN_SAMPLES = (6, 10, 15, 20, 30), (2, 4, 8)


@dataclass(frozen=True, order=True)
class Setting:
    """One point of the grid."""

    eps: float
    k1: int
    min_samples: int

    @classmethod
    def of(cls, cfg: CfgNode) -> Setting:
        """What a configuration says."""
        keys = cfg.PSEUDO_LABELS
        return cls(keys.DBSCAN.EPS, keys.K1, keys.DBSCAN.MIN_SAMPLES)

    def overrides(self) -> list[str]:
        """KEY VALUE pairs."""
        return [
            *("PSEUDO_LABELS.DBSCAN.EPS_RULE", "fixed"),
            *("PSEUDO_LABELS.DBSCAN.EPS", f"{self.eps:g}"),
            *("PSEUDO_LABELS.K1", str(self.k1)),
            *("PSEUDO_LABELS.K2", str(second_width(self.k1))),
            *("PSEUDO_LABELS.DBSCAN.MIN_SAMPLES", str(self.min_samples)),
        ]


@dataclass(frozen=True, eq=False)
class Tried:
    """A setting, the N labels that it gives, and measures by name."""

    setting: Setting
    labels: np.ndarray
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What else is known of N images; None for what is not.

    Attributes:
        identities, cameras: N integers.
        tracklets: N integers, -1 for an image of none.
        exclusive: pairs of tracklets that are of different identities.
    """

    identities: np.ndarray | None = None
    cameras: np.ndarray | None = None
    tracklets: np.ndarray | None = None
    exclusive: np.ndarray | None = None


def second_width(k1: int) -> int:
    """PSEUDO_LABELS.K2 beside K1: 6, where the neighbours are enough for it."""
    return max(1, min(6, k1 // 2))


def settings_of(num_images: int, own: Setting) -> list[Setting]:
    """The grid for a number of images, with the recipe's own setting."""
    widths = [k1 for k1 in K1 if k1 <= max(num_images // 4, K1[0])]
    return sorted({*(Setting(*point) for point in product(RADII, widths, MIN_SAMPLES)), own})


def explore(views: Views, known: Known, own: Setting) -> list[Tried]:
    """Try all settings of the grid, the recipe's own among them; the best by `worth_of` first."""
    settings = settings_of(len(views.layouts), own)
    poses = pose_groups(views.layouts)
    tried: list[Tried] = []
    for k1 in sorted({setting.k1 for setting in settings}):
        reach = max(setting.eps for setting in settings) + 1e-4
        graphs = {name: _graph(each, k1, reach) for name, each in _all_features(views)}
        for setting in (each for each in settings if each.k1 == k1):
            labels = {name: dbscan(graph, setting.eps, setting.min_samples) for name, graph in graphs.items()}
            tried.append(Tried(setting, labels["all"], _measures(labels, views, known, poses)))
    _add_steadiness(tried)
    for each in tried:
        each.measures["worth"] = worth_of(each.measures)
    return sorted(tried, key=lambda each: (-each.measures["worth"], each.setting))


def worth_of(measures: dict[str, float]) -> float:
    """By what settings are ordered: `guard`, times how steady labels are under a small change of the radius
    and of the images.
    """
    return guard(measures) * measures["steady_eps"] * measures["steady_copies"]


def _all_features(views: Views) -> Iterator[tuple[str, np.ndarray]]:
    yield "all", views.features
    yield from views.copies.items()
    if len(views.networks) > 1:
        yield from ((f"network {k}", features) for k, features in enumerate(views.networks))


def _graph(features: np.ndarray, k1: int, reach: float) -> csr_array:
    return jaccard_graph(features, min(k1, len(features)), second_width(k1), max_distance=reach)


def _measures(
    labels: dict[str, np.ndarray], views: Views, known: Known, poses: np.ndarray
) -> dict[str, float]:
    own = labels["all"]
    counts = np.bincount(own[own >= 0])
    found = {
        "clusters": float(len(counts)),
        "outliers": float((own < 0).sum()),
        "clustered": float((own >= 0).mean()),
        "median_size": float(np.median(counts)) if len(counts) else 0.0,
        "largest": float(counts.max(initial=0) / len(own)),
        "steady_copies": float(np.mean([stability(own, labels[name]) for name in views.copies])),
    }
    if len(counts) > 1:
        found["silhouette"] = silhouette(views.features, own)
        found["copies_kept"] = copies_kept(own, views)
    networks = [each for name, each in labels.items() if name.startswith("network")]
    if networks:
        found["steady_networks"] = stability(networks[0], networks[1])
    if known.cameras is not None:
        found["follows_cameras"] = follows(own, known.cameras)
    found["follows_poses"] = follows(own, poses)
    if known.tracklets is not None:
        found["split_tracklets"] = float(_split(own, known.tracklets))
    if known.exclusive is not None:
        found["joined_exclusive"] = float(conflicts(own, known.tracklets, known.exclusive))
    if known.identities is not None:
        found["ARI"] = agreement(own, known.identities)["ARI"]
    return found


def copies_kept(labels: np.ndarray, views: Views) -> float:
    """Share of the clustered images whose mirrored and cropped copies are nearest to their own cluster."""
    clustered = labels >= 0
    sums = np.zeros((labels.max() + 1, views.features.shape[1]), np.float32)
    np.add.at(sums, labels[clustered], views.features[clustered])
    centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    nearest = [(copy[clustered] @ centres.T).argmax(axis=1) for copy in views.copies.values()]
    return float(np.mean([near == labels[clustered] for near in nearest]))


def _split(labels: np.ndarray, tracklets: np.ndarray) -> int:
    """Tracklets whose clustered images lie in several clusters."""
    rows = (labels >= 0) & (tracklets >= 0)
    pairs = np.unique(np.stack([tracklets[rows], labels[rows]]), axis=1)
    return int((np.bincount(pairs[0]) > 1).sum()) if pairs.size else 0


def _add_steadiness(tried: list[Tried]) -> None:
    """How far labels agree with those of the next smaller and larger radius, all else equal."""
    lines: dict[tuple[int, int], list[Tried]] = {}
    for each in tried:
        lines.setdefault((each.setting.k1, each.setting.min_samples), []).append(each)
    for line in lines.values():
        line.sort(key=lambda each: each.setting.eps)
        steps = [stability(a.labels, b.labels) for a, b in pairwise(line)]
        for k, each in enumerate(line):
            beside = steps[max(k - 1, 0) : k + 1]
            each.measures["steady_eps"] = float(np.mean(beside)) if beside else 1.0
