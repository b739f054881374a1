"""Contact sheets of clusters, and ranked results. Shapes: N images, C clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .collect import ReportedRun, camera_name, identity_name
from .svg import number
from .thumbnails import thumbnail

CLUSTERS, MEMBERS, OUTLIERS = 3, 16, 32
# A cluster of fewer images is no news, however tight.
MIN_MEMBERS = 4


@dataclass(frozen=True)
class Picture:
    """One image of a sheet: its data URI, its caption, and "right", "wrong" or "query", or "" without a
    frame.
    """

    uri: str
    title: str
    frame: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Sheet:
    """A row of pictures with a heading."""

    title: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Clusters:
    """The clusters of a run by what they are like.

    Attributes:
        run: the run, whose images are here.
        members: C index arrays, nearest to the centroid first where distances are known.
        spread: C mean distances to the centroid; None where they are not known.
        impurity: C shares of images that are not of the most frequent identity; None without identities.
    """

    run: ReportedRun
    members: list[np.ndarray]
    spread: np.ndarray | None
    impurity: np.ndarray | None

    @classmethod
    def of(cls, run: ReportedRun) -> Clusters:
        record, labels, truth = run.last or run.first, run.labels, run.truth
        distances = np.zeros(len(labels)) if record is None else record.distances.astype(np.float32)
        order = np.lexsort((distances, labels))
        order = order[labels[order] >= 0]
        starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
        members = np.split(order, starts)[1:]
        return cls(
            run=run,
            members=members,
            spread=None if record is None else np.array([np.nanmean(distances[m]) for m in members]),
            impurity=None if truth is None else np.array([_impurity(truth[m]) for m in members]),
        )

    def ordered(self, keys: np.ndarray) -> list[int]:
        """Clusters, those of the highest keys first; those of few images last."""
        sizes = np.array([len(m) for m in self.members])
        return np.lexsort((-keys, sizes < MIN_MEMBERS)).tolist()

    def sheet(self, cluster: int) -> Sheet:
        members, truth = self.members[cluster], self.run.truth
        parts = [f"{len(members)} images"]
        if self.run.cameras is not None:
            parts.append(f"{_count(len(np.unique(self.run.cameras[members])), 'camera')}")
        if self.spread is not None:
            parts.append(f"mean distance to the centre {number(float(self.spread[cluster]))}")
        owner = None
        if truth is not None:
            ids, counts = np.unique(truth[members], return_counts=True)
            owner = ids[counts.argmax()]
            others = len(members) - counts.max()
            parts.append(_count(len(ids), "true identity", "true identities"))
            if others:
                parts.append(f"{_count(int(others), 'image')} not of the most frequent one")
        shown = _evenly(members, MEMBERS)
        frame = _frame_of(truth, owner)
        return Sheet(
            f"Cluster {cluster}: {', '.join(parts)}", [_picture(self.run, i, frame(i)) for i in shown]
        )


def cluster_sheets(run: ReportedRun) -> list[tuple[str, str, list[Sheet]]]:
    """(heading, explanation, sheets) of the largest, the most mixed and the tightest clusters, and of images
    of no cluster; without identities, loose clusters stand for mixed ones. No cluster is shown twice.
    """
    clusters = Clusters.of(run)
    sizes = np.array([len(m) for m in clusters.members])
    kinds = []
    if len(sizes):
        kinds.append(("Largest", "Very large clusters often join several identities.", sizes))
    if clusters.impurity is not None and len(sizes):
        what = "The largest share of images that are not of the cluster's most frequent true identity."
        kinds.append(("Most mixed", what, clusters.impurity))
    elif clusters.spread is not None and len(sizes):
        what = (
            "Largest mean distance to the centre: where mixed clusters are likely. Identities are not known."
        )
        kinds.append(("Loosest", what, clusters.spread))
    if clusters.spread is not None and len(sizes):
        kinds.append(("Tightest", "Smallest mean distance to the centre.", -clusters.spread))
    groups, shown = [], set()
    for title, what, keys in kinds:
        order = clusters.ordered(keys)
        chosen = [k for k in order if k not in shown][:CLUSTERS]
        if chosen != order[: len(chosen)] or not chosen:
            what += " Clusters that stand above are not shown again."
        groups.append((title, what, [clusters.sheet(k) for k in chosen]))
        shown.update(chosen)
    outliers = np.flatnonzero(run.labels < 0)
    if len(outliers):
        pictures = [_picture(run, i, "") for i in _evenly(outliers, OUTLIERS)]
        count = f"{_count(len(outliers), 'image')} of no cluster; {len(pictures)} of them, evenly spaced"
        groups.append(
            ("Outliers", "Too far from enough others; not trained on when dropped.", [Sheet(count, pictures)])
        )
    return groups


def ranked_sheets(run: ReportedRun) -> list[Sheet]:
    """One row for each query of the run's ranking record: itself, then its ranked gallery images."""
    ranking = run.ranking
    query, gallery = run.test_items
    sheets = []
    for q, precision, ids, distances, hits in zip(
        ranking.queries, ranking.precisions, ranking.gallery, ranking.distances, ranking.matches, strict=True
    ):
        path, _, camera = query[q]
        pictures = [Picture(thumbnail(path), path, "query", camera_name(camera))]
        for rank, (i, distance, hit) in enumerate(zip(ids, distances, hits, strict=True), start=1):
            if i >= 0:
                path, _, camera = gallery[i]
                title = f"rank {rank}: {'right' if hit else 'wrong'}, distance {distance:.3f}, {path}"
                frame = "right" if hit else "wrong"
                pictures.append(Picture(thumbnail(path), title, frame, camera_name(camera)))
        sheets.append(Sheet(f"average precision {100 * precision:.0f} %", pictures))
    return sheets


def _picture(run: ReportedRun, index: int, frame: str) -> Picture:
    path, identity, camera = run.items[index]
    caption = "" if run.cameras is None else camera_name(camera)
    known = "" if run.truth is None else f"true identity {identity_name(identity)}, "
    return Picture(thumbnail(path), f"{known}{path}", frame, caption)


def _frame_of(truth: np.ndarray | None, owner: int | None) -> Callable[[int], str]:
    """Images of another identity than most of the cluster's are framed."""
    return lambda index: "" if truth is None or truth[index] == owner else "wrong"


def _impurity(identities: np.ndarray) -> float:
    return 1 - np.unique(identities, return_counts=True)[1].max() / len(identities)


def _evenly(indices: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` of them, evenly spaced, the first and the last among them."""
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int))]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
