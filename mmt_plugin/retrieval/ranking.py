"""CMC, mAP and mINP of a gallery ranked by distance. Shapes: Q queries, G gallery images.

No row is ever sorted: a match's rank is one more than the number of images before it, and those are counted
by vector instructions. Memory besides the distances is a few numbers a query, and the distances may come in
blocks of queries.

Equal distances are ranked by gallery index, as a stable sort ranks them. Evaluations that sort unstably (the
host's compiled one among them) may rank ties otherwise; without ties all agree.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mmt_plugin.errors import UserError
from mmt_plugin.pseudo_labels.threads import over_rows
from mmt_plugin.system.compilation import njit

REPORTED_RANKS = (1, 5, 10)


class RankingError(UserError, ValueError):
    """A test set that cannot be measured; the message says why."""


@dataclass(frozen=True)
class Ranking:
    """Metrics over the queries that have a match in the gallery under another camera (V of them).

    Attributes:
        cmc: max_rank float32 in [0, 1], share of the queries whose first match has at most this rank; level
            beyond the gallery's end.
        average_precisions: V, in [0, 1].
        inverse_penalties: V, in (0, 1]: the number of matches over the rank of the last one (mINP is their
            mean); 0 where a cut (top_k) leaves none.
    """

    cmc: np.ndarray
    average_precisions: np.ndarray
    inverse_penalties: np.ndarray

    def percent(self) -> dict[str, float]:
        """The metrics that are reported, by fastreid's names."""
        ranks = {f"Rank-{rank}": float(self.cmc[rank - 1]) for rank in REPORTED_RANKS}
        means = {"mAP": self.average_precisions.mean(), "mINP": self.inverse_penalties.mean()}
        return {name: 100 * float(value) for name, value in {**means, **ranks}.items()}


def rank_gallery(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    max_rank: int = 50,
    top_k: int | None = None,
) -> Ranking:
    """Evaluate by the rule of Market-1501: gallery images of the query's identity and camera are junk and
    ignored.

    Args:
        distances: Q x G float32, smaller is nearer.
        query_ids, query_cameras: Q integers each.
        gallery_ids, gallery_cameras: G integers each.
        max_rank: length of the CMC curve.
        top_k: keep only so many leading images of each ranked list, junk included, before junk is removed,
            and average precision over the matches among them (VisDA-2020's mAP@100, yxgeee/VisDA-ECCV20).
            None keeps all.

    Returns:
        The metrics.

    Raises:
        ValueError: if shapes do not fit or distances are NaN.
        RankingError: if no query has a match.
    """
    expected = (len(query_ids), len(gallery_ids))
    if np.shape(distances) != expected:
        raise ValueError(
            f"distances have shape {np.shape(distances)}; "
            f"expected {expected[0]} queries x {expected[1]} gallery images"
        )
    labels = (query_ids, gallery_ids, query_cameras, gallery_cameras)
    return rank_in_blocks([distances], *labels, max_rank, top_k)


def rank_in_blocks(
    blocks: Iterable[np.ndarray],
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    max_rank: int = 50,
    top_k: int | None = None,
) -> Ranking:
    """Evaluate as `rank_gallery` does, from the rows of the distance matrix block by block.

    Args:
        blocks: distances of consecutive queries to all G gallery images, together Q x G.
        query_ids, gallery_ids, query_cameras, gallery_cameras, max_rank, top_k: as in `rank_gallery`.

    Returns:
        The metrics.

    Raises:
        ValueError, RankingError: as `rank_gallery`.
    """
    queries, gallery = _ids(query_ids, query_cameras), _ids(gallery_ids, gallery_cameras)
    by_id = np.argsort(gallery[0], kind="stable")
    cut = gallery.shape[1] if top_k is None else top_k
    parts, done = [], 0
    for block in blocks:
        block = np.ascontiguousarray(block, dtype=np.float32)
        if np.isnan(block.min(initial=0)):
            raise ValueError("the distances contain NaN: the features cannot be ranked")
        asking = queries[:, done : done + len(block)]
        arguments = (block, *asking, *gallery, by_id, cut)
        parts += over_rows(_rank, len(block), *arguments, description="ranking", rows_per_call=256)
        done += len(block)
    if done != queries.shape[1]:
        raise ValueError(f"the blocks hold distances of {done} queries, there are {queries.shape[1]}")
    precision, penalty, first = (np.concatenate(column) for column in zip(*parts, strict=True))
    valid = first >= 0
    if not valid.any():
        raise RankingError(
            "no query identity appears in the gallery under another camera: there is nothing to evaluate; "
            f"the test set has {len(valid)} queries and {gallery.shape[1]} gallery images"
        )
    first = first[valid]
    hits = np.bincount(first[(first > 0) & (first <= max_rank)] - 1, minlength=max_rank)
    return Ranking((np.cumsum(hits) / len(first)).astype(np.float32), precision[valid], penalty[valid])


def _ids(identities: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """Identities and cameras as 2 x n int64."""
    return np.stack([np.asarray(identities, dtype=np.int64), np.asarray(cameras, dtype=np.int64)])


@njit(nogil=True, cache=True)
def _rank(start, stop, distances, query_ids, query_cameras, gallery_ids, gallery_cameras, by_id, cut):
    """Average precision, inverse penalty and the first match's rank of queries start to stop.

    The rank is 0 where the cut leaves no match, and -1 where the gallery holds none.
    """
    precisions, penalties = np.zeros(stop - start), np.zeros(stop - start)
    first_ranks = np.full(stop - start, -1, dtype=np.int64)
    sorted_ids = gallery_ids[by_id]
    for query in range(start, stop):
        identity = query_ids[query]
        first, last = (
            np.searchsorted(sorted_ids, identity),
            np.searchsorted(sorted_ids, identity, side="right"),
        )
        same_id = by_id[first:last]
        is_junk = gallery_cameras[same_id] == query_cameras[query]
        matches, junk = same_id[~is_junk], same_id[is_junk]
        if len(matches) == 0:
            continue
        before = _images_before(distances[query], matches)
        hits, rank, precision, first_rank = 0, 0, 0.0, 0
        for at in np.argsort(before):
            if before[at] >= cut:
                break
            hits += 1
            rank = before[at] - _how_many_before(distances[query], junk, matches[at]) + 1
            precision += hits / rank
            if hits == 1:
                first_rank = rank
        first_ranks[query - start] = first_rank
        if hits > 0:
            precisions[query - start] = precision / hits
            penalties[query - start] = hits / rank
    return precisions, penalties, first_ranks


@njit(nogil=True, cache=True)
def _images_before(row, images):
    """How many images of the row rank before each of those given: nearer ones, of equals earlier ones."""
    before = np.zeros(len(images), dtype=np.int64)
    for at in range(len(images)):
        earlier, later = row[: images[at]], row[images[at] :]
        before[at] = _count(earlier, row[images[at]], True) + _count(later, row[images[at]], False)
    return before


@njit(nogil=True, cache=True)
def _count(values, limit, or_equal):
    """How many values are below a limit, or at it. Unsigned 32-bit sums are what the compiler vectorises
    best.
    """
    count = np.uint32(0)
    if or_equal:
        for at in range(values.size):
            count = np.uint32(count + np.uint32(values[at] <= limit))
    else:
        for at in range(values.size):
            count = np.uint32(count + np.uint32(values[at] < limit))
    return np.int64(count)


@njit(nogil=True, cache=True)
def _how_many_before(row, images, match):
    """How many of a few images rank before a match."""
    count = 0
    for image in images:
        count += row[image] < row[match] or (row[image] == row[match] and image < match)
    return count
