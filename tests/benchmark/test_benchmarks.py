"""The measurements measure what they say: equal work, own processes, plausible figures."""

import argparse
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmark import evaluation, kmeans, pseudo_labels
from benchmark.features import clustered_features
from benchmark.measure import in_fresh_process, matmul_rate

from mmt_plugin.pseudo_labels.timing import Stages


def defaults(module, *words):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def in_this_process(monkeypatch):
    """Measurements without new processes, which take seconds to start."""

    def measured(prepare, work, *arguments):
        stages = Stages()
        result = work(prepare(*arguments), stages)
        stages.seconds["total"] = sum(stages.seconds.values(), 0.001)
        return SimpleNamespace(seconds=stages.seconds, added_gib=1.0, peak_gib=1.0, result=result)

    for module in (evaluation, kmeans, pseudo_labels):
        monkeypatch.setattr(module, "in_fresh_process", measured)


def columns(printed, name):
    """A table's column, by its header."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    at = cells[0].index(name)
    return [row[at] for row in cells[2:]]


def test_features_are_clustered_and_repeatable():
    features, identities, cameras = clustered_features(2000, 64)
    again = clustered_features(2000, 64)
    assert all(
        np.array_equal(one, other) for one, other in zip((features, identities, cameras), again, strict=True)
    )
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    similarity = features @ features.T
    same = identities[:, None] == identities
    np.fill_diagonal(same, False)
    assert similarity[same].mean() > similarity[~same].mean() + 0.2
    assert 8 < np.bincount(identities)[np.unique(identities)].mean() < 30
    assert set(cameras) == set(range(6))


def test_label_steps_agree(in_this_process, capsys):
    pseudo_labels.run(defaults(pseudo_labels, "--images", "400", "--size", "32", "--search", "exact", "hnsw"))
    printed = capsys.readouterr().out
    assert columns(printed, "implementation")[0] == "mmt_plugin, exact"
    assert columns(printed, "ARI")[0] == columns(printed, "ARI")[2] == "1.00"
    assert int(columns(printed, "clusters")[0]) > 5
    assert "after the k-NN" in printed
    assert "k-NN floor, float32" in printed
    assert "N = 400: hnsw has recall" in printed


def test_rankings_agree(in_this_process, capsys, monkeypatch):
    # Compiling the host's other ranking takes too long here.
    monkeypatch.setattr(shutil, "which", lambda _: None)
    evaluation.run(defaults(evaluation, "--queries", "30", "--gallery", "120", "--size", "16", "--k1", "10"))
    printed = capsys.readouterr().out
    differences = [
        float(value) for value in columns(printed, "largest difference from ours") if value[0].isdigit()
    ]
    assert len(differences) == 4
    assert max(differences) < 1e-5


def test_kmeans_are_compared(in_this_process, capsys):
    kmeans.run(defaults(kmeans, "--images", "300", "--size", "8", "--clusters", "10"))
    printed = capsys.readouterr().out
    ours, theirs = (float(value) for value in columns(printed, "inertia"))
    assert ours == pytest.approx(theirs, rel=0.2)
    assert columns(printed, "clusters in use") == ["10", "10"]


def _make(size):
    return size


def _fill(size, stages):
    with stages.stage("fill"):
        return np.ones(size, dtype=np.uint8).sum()


def test_memory_is_that_of_the_work_alone():
    measured = in_fresh_process(_make, _fill, 300 * 2**20)
    assert measured.result == 300 * 2**20
    assert 0.28 < measured.added_gib < 0.6
    assert measured.peak_gib > measured.added_gib
    assert 0 < measured.seconds["fill"] <= measured.seconds["total"]


def test_rate_of_products_is_finite():
    assert 1e8 < matmul_rate(torch.float32, 64, block=256, trials=2) < 1e15
