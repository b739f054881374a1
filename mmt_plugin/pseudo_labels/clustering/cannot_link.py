"""Images that are known to show different identities do not share a label.

Shapes: N images, D feature size, U units, P pairs of units. A unit is a tracklet: two of them at the same
time in one camera are two identities.
"""

import numpy as np


def simultaneous(tracklets: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Pairs of tracklets that are seen in one frame of one camera.

    Args:
        tracklets: N integers from 0, -1 for an image of no tracklet.
        frames: N integers from 0, different in different cameras; -1 where the time is not known.

    Returns:
        P x 2 tracklets, the smaller first, in ascending order.
    """
    known = np.flatnonzero((tracklets >= 0) & (frames >= 0))
    seen = np.unique(np.stack([frames[known], tracklets[known]], axis=1), axis=0)
    pairs = []
    # Rows of one frame follow each other; those at a distance of `step` within it are paired.
    for step in range(1, len(seen)):
        same = seen[step:, 0] == seen[:-step, 0]
        if not same.any():
            break
        pairs.append(np.stack([seen[:-step][same, 1], seen[step:][same, 1]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0) if pairs else np.empty((0, 2), dtype=np.int64)


def conflicts(labels: np.ndarray, units: np.ndarray, pairs: np.ndarray) -> int:
    """Count the pairs of units that cannot share a label, and do.

    Args:
        labels: N int64, -1 for an outlier.
        units: N integers from 0, -1 for an image of no unit.
        pairs: P x 2 units.
    """
    return len(np.unique(_violated(labels, units, pairs)[:, 1:], axis=0))


def separate_conflicts(
    labels: np.ndarray, features: np.ndarray, units: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    """Split the clusters that hold two units which cannot share a label.

    Within such a cluster the units with the most conflicts are placed first, then the larger, then the
    smaller number: each joins the part with the most similar mean among those without a conflict, or opens a
    new one. Images of no unit join the most similar part. The first part keeps the cluster's number, others
    are numbered after all clusters. A part of a single image is an outlier.

    Args:
        labels: N int64, dense from 0, -1 for an outlier.
        features: N x D float32.
        units: N integers from 0, -1 for an image of no unit.
        pairs: P x 2 units.

    Returns:
        N int64 labels, dense from 0.

    Raises:
        ValueError: if the lengths differ.
    """
    labels, units, pairs = np.array(labels), np.asarray(units), np.asarray(pairs).reshape(-1, 2)
    if labels.shape != units.shape:
        raise ValueError(f"{labels.shape} labels for the tracklets of {units.shape} images")
    violated = _violated(labels, units, pairs)
    fresh = labels.max(initial=-1) + 1
    for cluster in np.unique(violated[:, 0]):
        members = np.flatnonzero(labels == cluster)
        part = _parts(features[members], units[members], violated[violated[:, 0] == cluster, 1:])
        labels[members[part > 0]] = fresh + part[part > 0] - 1
        fresh += part.max()
        alone = np.bincount(part)[part] == 1
        labels[members[alone]] = -1
    clustered = labels >= 0
    labels[clustered] = np.unique(labels[clustered], return_inverse=True)[1]
    return labels


def _violated(labels: np.ndarray, units: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Rows of cluster and two units: the pairs that share a cluster in which both have images."""
    inside = (labels >= 0) & (units >= 0)
    present = np.unique(np.stack([units[inside], labels[inside]], axis=1), axis=0)
    clusters_of: dict[int, list[int]] = {}
    for unit, label in present.tolist():
        clusters_of.setdefault(unit, []).append(label)
    rows = [
        (label, one, two)
        for one, two in pairs.tolist()
        if one != two
        for label in clusters_of.get(one, ())
        if label in clusters_of.get(two, ())
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _parts(features: np.ndarray, units: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The part of each of a cluster's images, from 0."""
    enemies: dict[int, set[int]] = {}
    for one, two in pairs.tolist():
        enemies.setdefault(one, set()).add(two)
        enemies.setdefault(two, set()).add(one)
    names, sizes = np.unique(units[units >= 0], return_counts=True)
    order = sorted(
        zip(names.tolist(), sizes.tolist(), strict=True),
        key=lambda unit: (-len(enemies.get(unit[0], ())), -unit[1], unit[0]),
    )
    parts, sums, part_of = [], [], np.full(len(units), -1, dtype=np.int64)
    for unit, _ in order:
        images = units == unit
        total = features[images].sum(axis=0, dtype=np.float64)
        free = [at for at, held in enumerate(parts) if not held & enemies.get(unit, set())]
        if free:
            place = free[int(np.argmax([_cosine(total, sums[at]) for at in free]))]
            parts[place].add(unit)
            sums[place] = sums[place] + total
        else:
            place = len(parts)
            parts.append({unit})
            sums.append(total)
        part_of[images] = place
    for image in np.flatnonzero(part_of < 0):
        part_of[image] = int(np.argmax([_cosine(features[image], total) for total in sums]))
    return part_of


def _cosine(one: np.ndarray, two: np.ndarray) -> float:
    return float(one @ two / max(np.linalg.norm(one) * np.linalg.norm(two), 1e-30))
