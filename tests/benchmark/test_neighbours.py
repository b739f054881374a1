"""The hostile features of the neighbour benchmark, and its rival."""

import argparse

import numpy as np
import pytest
from benchmark import neighbours
from benchmark.features import clustered_features


@pytest.mark.parametrize("name", neighbours.FEATURES)
def test_every_kind_is_a_finite_matrix(name):
    plain = clustered_features(170, 24)[0]
    made = np.asarray(neighbours.FEATURES[name](plain), dtype=np.float32)
    assert made.shape == plain.shape
    assert np.isfinite(made).all()


def test_both_find_the_same_on_easy_features_and_are_timed(capsys):
    plain = clustered_features(300, 24)[0]
    rival = neighbours.blocked_topk(plain, 5).numpy()
    assert (np.sort(rival, axis=1) == np.sort(neighbours.exact.search(plain, 5)[0], axis=1)).mean() > 0.99
    neighbours.run(argparse.Namespace(images=300, size=24, k=5, features=["clusters", "half equal"]))
    table = capsys.readouterr().out
    assert "N = 300, D = 24, k = 5" in table
    assert "| half equal" in table
