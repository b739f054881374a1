"""Ranked lists that a run keeps."""

import numpy as np
import pytest
import torch

from mmt_plugin.report.ranking_record import RANKS, SHOWN, rank_queries
from mmt_plugin.retrieval.ranking import rank_gallery


def market(num_query: int, num_gallery: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    draw = lambda count: [(f"/t/{i}.jpg", int(rng.integers(6)), int(rng.integers(3))) for i in range(count)]  # noqa: E731
    features = torch.from_numpy(rng.normal(size=(num_query + num_gallery, 5)).astype(np.float32))
    return draw(num_query), draw(num_gallery), features[:num_query], features[num_query:]


def columns(items) -> tuple[np.ndarray, np.ndarray]:
    return np.array([item[1] for item in items]), np.array([item[2] for item in items])


def test_precisions_are_those_of_the_evaluation():
    query, gallery, q, g = market(30, 60)
    record = rank_queries("Market", query, gallery, q, g)
    unit = torch.nn.functional.normalize
    distances = (1 - unit(q, dim=1) @ unit(g, dim=1).T).numpy()
    assert record.sampled == 30
    assert len(record.queries) == SHOWN
    for at, precision in zip(record.queries, record.precisions, strict=True):
        (ids, cameras), (gallery_ids, gallery_cameras) = columns([query[at]]), columns(gallery)
        expected = rank_gallery(distances[at : at + 1], ids, gallery_ids, cameras, gallery_cameras)
        assert precision == pytest.approx(expected.average_precisions[0], abs=1e-5)
    assert (np.diff(record.precisions) <= 0).all()
    everything = rank_gallery(distances, *_interleaved(query, gallery)).average_precisions
    assert record.precisions[0] == pytest.approx(everything.max(), abs=1e-5)
    assert record.precisions[-1] == pytest.approx(everything.min(), abs=1e-5)


def _interleaved(query, gallery):
    (ids, cameras), (gallery_ids, gallery_cameras) = columns(query), columns(gallery)
    return ids, gallery_ids, cameras, gallery_cameras


def test_lists_are_sorted_marked_and_free_of_junk():
    query, gallery, q, g = market(30, 60)
    record = rank_queries("Market", query, gallery, q, g)
    for at, ids, distances, matches in zip(
        record.queries, record.gallery, record.distances, record.matches, strict=True
    ):
        assert (np.diff(distances) >= 0).all()
        for i, match in zip(ids, matches, strict=True):
            assert gallery[i][1:] != query[at][1:]
            assert match == (gallery[i][1] == query[at][1])


def test_short_galleries_are_padded():
    query, gallery, q, g = market(1, 4)
    query, gallery = [("/t/q.jpg", 1, 0)], [(path, 1, 1) for path, *_ in gallery]
    record = rank_queries("Market", query, gallery, q, g)
    assert record.gallery.shape == (1, RANKS)
    assert (record.gallery[0, 4:] == -1).all()
    assert record.precisions[0] == 1


def test_queries_without_a_match_give_no_record():
    query, gallery, q, g = market(5, 10)
    assert rank_queries("Market", [(p, 99, c) for p, _, c in query], gallery, q, g) is None
