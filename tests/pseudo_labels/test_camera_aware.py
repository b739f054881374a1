import numpy as np
import pytest
import torch

from mmt_plugin.pseudo_labels import agreement, camera_aware_jaccard_graph, dbscan, jaccard_graph


@pytest.mark.parametrize("widths", [(5, 20, 2, 4), (5, 20, 3, 3), (3, 7, 1, 0), (10, 2, 4, 3)])
@pytest.mark.parametrize("num_cameras", [2, 6])
def test_equals_the_obvious_loop(identity_features, dense_camera_aware, to_dense, widths, num_cameras):
    features, _ = identity_features(150, 16, noise=0.8)
    cameras = np.random.default_rng(0).integers(0, num_cameras, 150) * 3 + 1
    expected = dense_camera_aware(features, cameras, *widths)
    np.fill_diagonal(expected, 0)
    graph = camera_aware_jaccard_graph(torch.from_numpy(features), cameras, *widths)
    assert np.allclose(to_dense(graph), expected, atol=2e-6)
    bounded = camera_aware_jaccard_graph(features, cameras, *widths, 0.6137)
    assert bounded.nnz == (expected < 0.6137).sum() - 150


def test_cameras_with_few_images(identity_features, dense_camera_aware, to_dense):
    features, _ = identity_features(60, 8)
    cameras = np.where(np.arange(60) < 57, 0, np.arange(60))
    expected = dense_camera_aware(features, cameras, 5, 20, 2, 4)
    np.fill_diagonal(expected, 0)
    assert np.allclose(to_dense(camera_aware_jaccard_graph(features, cameras)), expected, atol=2e-6)


def test_a_single_camera_has_neighbours_of_its_own_only(identity_features, dense_camera_aware, to_dense):
    features, _ = identity_features(60, 8)
    cameras = np.zeros(60, dtype=np.int32)
    expected = dense_camera_aware(features, cameras, 5, 20, 2, 4)
    np.fill_diagonal(expected, 0)
    assert np.allclose(to_dense(camera_aware_jaccard_graph(features, cameras)), expected, atol=2e-6)


def test_a_camera_bias_no_longer_hides_the_matches(identity_features):
    features, truth = identity_features(240, 32, per_identity=12, noise=0.3)
    cameras = np.random.default_rng(0).integers(0, 3, 240)
    features = features + 1.5 * np.eye(32)[cameras]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    plain = dbscan(jaccard_graph(features, 20, 6), 0.6, 4)
    aware = dbscan(camera_aware_jaccard_graph(features, cameras), 0.6, 4)
    assert agreement(aware, truth)["ARI"] > agreement(plain, truth)["ARI"] + 0.2


@pytest.mark.parametrize("num_images", [0, 1])
def test_nothing_to_compare(num_images):
    graph = camera_aware_jaccard_graph(np.zeros((num_images, 4)), np.zeros(num_images, dtype=int))
    assert graph.shape == (num_images, num_images)
    assert graph.nnz == 0


@pytest.mark.parametrize(
    ("cameras", "widths", "message"),
    [
        (np.zeros(9, dtype=int), (5, 20, 2, 4), "expected 10 integer camera numbers"),
        (np.zeros(10), (5, 20, 2, 4), "expected 10 integer camera numbers"),
        (np.zeros(10, dtype=int), (0, 20, 1, 4), "CAMERA_AWARE.K1_INTRA is 0"),
        (np.zeros(10, dtype=int), (5, 0, 1, 1), "CAMERA_AWARE.K1_INTER is 0"),
        (np.zeros(10, dtype=int), (5, 20, 7, 4), "CAMERA_AWARE.K2_INTRA is 7"),
        (np.zeros(10, dtype=int), (5, 20, 0, 4), "CAMERA_AWARE.K2_INTRA is 0"),
        (np.zeros(10, dtype=int), (5, 20, 2, 22), "CAMERA_AWARE.K2_INTER is 22"),
    ],
)
def test_bad_arguments(cameras, widths, message):
    with pytest.raises(ValueError, match=message):
        camera_aware_jaccard_graph(np.eye(10), cameras, *widths)
