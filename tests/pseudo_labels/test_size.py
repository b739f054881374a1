"""A cluster that is too large to be one identity is told, with what to change."""

from types import SimpleNamespace

import numpy as np
import pytest

from mmt_plugin.pseudo_labels import PseudoLabels
from mmt_plugin.pseudo_labels.quality.size import warnings_of


def told(sizes, settings, num_outliers=0, eps=0.6):
    labels = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(num_outliers, -1)]).astype(int)
    found = PseudoLabels.from_features(labels, np.ones((len(labels), 2), np.float32), eps=eps)
    return list(warnings_of(found, settings))


def test_a_tenth_of_the_images_is_told_and_less_is_not(settings):
    assert told([10] * 10, settings) == []
    assert told([11, *[9] * 11], settings) == []
    (sentence,) = told([12, *[9] * 11], settings)
    assert "12 of 111 images, more than a tenth" in sentence
    assert "lower PSEUDO_LABELS.DBSCAN.EPS (the radius is 0.6)" in sentence
    assert told([12, *[9] * 11], settings, num_outliers=20) == []


@pytest.mark.parametrize("num_outliers", [0, 500])
def test_one_cluster_is_told_whatever_its_size(settings, num_outliers):
    (sentence,) = told([30], settings, num_outliers)
    assert sentence.startswith("All 30 clustered images are in one cluster: lower PSEUDO_LABELS.DBSCAN.EPS")


def test_the_remedy_is_of_the_method(settings):
    settings.DBSCAN.EPS_RULE = "rho"
    assert "lower PSEUDO_LABELS.DBSCAN.RHO" in told([30], settings)[0]
    settings.METHOD = "kmeans"
    assert "raise PSEUDO_LABELS.KMEANS.NUM_CLUSTERS, which is 10" in told([30, 2], settings, eps=None)[0]
    own = SimpleNamespace(METHOD="mine")
    assert "look at the keys of 'mine'" in told([30, 2], own, eps=None)[0]
