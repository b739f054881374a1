"""Evaluation of galleries of any size, without a compiler, and re-ranking with faiss for the CPU."""

import logging
import subprocess
from collections import OrderedDict

import faiss
import numpy as np
import pytest
import torch
from fastreid.evaluation import ReidEvaluator, inference_context, print_csv_format
from fastreid.evaluation.rank import evaluate_rank
from fastreid.utils import faiss_utils
from fastreid.utils.compute_dist import build_dist, compute_jaccard_distance
from torch import nn


def rank_slowly(distances, q_ids, g_ids, q_cams, g_cams, max_rank):
    """Market-1501's rule, one image at a time."""
    curves, precisions, penalties = [], [], []
    for q in range(len(q_ids)):
        ranked = [
            g_ids[g] == q_ids[q]
            for g in sorted(range(len(g_ids)), key=lambda g: distances[q, g])
            if g_ids[g] != q_ids[q] or g_cams[g] != q_cams[q]
        ]
        if not any(ranked):
            continue
        found, at_matches = 0, []
        for position, is_match in enumerate(ranked, start=1):
            found += is_match
            if is_match:
                at_matches.append(found / position)
        first, last = ranked.index(True), len(ranked) - ranked[::-1].index(True)
        curves.append([float(first <= rank) for rank in range(max_rank)])
        precisions.append(sum(at_matches) / found)
        penalties.append(found / last)
    return np.mean(curves, axis=0), precisions, penalties


def random_gallery(queries, gallery, identities, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.random((queries, gallery), dtype=np.float32),
        rng.integers(0, identities, queries),
        rng.integers(0, identities, gallery),
        rng.integers(0, 3, queries),
        rng.integers(0, 3, gallery),
    )


@pytest.mark.parametrize(("queries", "gallery", "identities"), [(20, 200, 8), (12, 30, 5), (5, 7, 2)])
def test_ranking_agrees_with_the_slow_loop(queries, gallery, identities):
    problem = random_gallery(queries, gallery, identities)
    curve, precisions, penalties = evaluate_rank(*problem)
    expected = rank_slowly(*problem, max_rank=50)
    assert curve.shape == (50,)
    np.testing.assert_allclose(curve, expected[0], atol=1e-6)
    np.testing.assert_allclose(precisions, expected[1], atol=1e-12)
    np.testing.assert_allclose(penalties, expected[2], atol=1e-12)


def test_curve_of_a_compiled_evaluation_is_extended(monkeypatch):
    from fastreid.evaluation import rank

    def compiled(*_):
        return np.array([0.25, 0.5, 0.75], dtype=np.float32), [0.1], [0.2]

    monkeypatch.setattr(rank, "IS_CYTHON_AVAI", True)
    monkeypatch.setattr(rank, "evaluate_cy", compiled, raising=False)
    curve, *rest = evaluate_rank(*random_gallery(2, 3, 1))
    assert curve.tolist() == [0.25, 0.5] + [0.75] * 48
    assert rest == [[0.1], [0.2]]


def test_features_that_cannot_be_ranked_are_refused():
    distances, *labels = random_gallery(3, 20, 2)
    distances[1, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        evaluate_rank(distances, *labels)
    distances[1, 4] = 0
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate_rank(distances, labels[0] + 5, *labels[1:])


def test_evaluator_scores_a_tiny_gallery_without_compiling(cfg, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was compiled"))
    evaluator = ReidEvaluator(cfg, num_query=2)
    features = torch.tensor([[1.0, 0], [0, 1], [1, 0.1], [1, 0.2], [0.1, 1]])
    batch = {"targets": torch.tensor([1, 2, 1, 2, 2]), "camids": torch.tensor([0, 0, 1, 1, 1])}
    evaluator.process(batch, features)
    results = evaluator.evaluate()
    assert results["Rank-1"] == results["Rank-10"] == 100
    assert results["mAP"] == pytest.approx(100 * (1 + (1 + 2 / 2) / 2) / 2)


class Teacher(nn.Module):
    def __init__(self):
        super().__init__()
        self.student, self.teacher = nn.Linear(1, 1), nn.Sequential(nn.Dropout())
        self.teacher.eval()


def fail_in_evaluation(model):
    with inference_context(model):
        raise RuntimeError(
            f"in {'training' if any(m.training for m in model.modules()) else 'evaluation'} mode"
        )


def test_training_modes_are_restored_even_after_an_exception():
    model = Teacher()
    modes = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError, match="in evaluation mode"):
        fail_in_evaluation(model)
    assert [module.training for module in model.modules()] == modes == [True, True, False, False]


@pytest.mark.parametrize(
    ("results", "row"),
    [
        (OrderedDict(dataset="Market1501", mAP=12.345), "| Market1501 | 12.3"),
        ({"mAP": 12.345}, "|           | 12.3"),
        ({"A": {"mAP": torch.tensor([12.345])}, "B": {"mINP": 1}}, "| A         | 12.3"),
        ({"dataset": "Market1501"}, "Market1501"),
    ],
)
def test_any_results_are_printed(monkeypatch, results, row):
    lines = []
    monkeypatch.setattr(
        logging.getLogger("fastreid.mmt.host"), "info", lambda text, *args: lines.append(text % args)
    )
    print_csv_format(results)
    assert row in lines[0]
    assert "dataset" not in results


@pytest.mark.parametrize("k1", [6, 20])
def test_reranking_distances_are_the_hosts(k1):
    features = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, dim=0)
    features += 0.3 * torch.randn(120, 6, generator=torch.Generator().manual_seed(1))
    features = torch.nn.functional.normalize(features)
    by_faiss_on_the_cpu = 3
    expected = compute_jaccard_distance(features, k1, 6, by_faiss_on_the_cpu)[:15, 15:]
    found = build_dist(features[:15], features[15:], metric="jaccard", k1=k1, k2=6)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert (found < 1).mean() > 0.05


def test_reranking_fewer_images_than_neighbours():
    features = torch.nn.functional.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)))
    few = build_dist(features[:2], features[2:], metric="jaccard", k1=20, k2=30)
    assert few.shape == (2, 7)
    assert ((few >= 0) & (few <= 1)).all()
    assert np.allclose(build_dist(features, features, metric="euclidean")[0, 0], 0, atol=1e-3)


def test_faiss_reads_and_writes_tensors():
    features = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    index = faiss.IndexFlatL2(4)
    index.add(features.numpy())
    expected = index.search(features.numpy(), 3)[1]
    found, distances = torch.zeros(2, 10, 3, dtype=torch.int64)[1], torch.zeros(10, 3)
    pointer = faiss_utils.swig_ptr_from_FloatTensor
    index.search_c(10, pointer(features), 3, pointer(distances), faiss_utils.swig_ptr_from_LongTensor(found))
    assert np.array_equal(found.numpy(), expected)
    with pytest.raises(ValueError, match="int64"):
        faiss_utils.swig_ptr_from_LongTensor(distances)
