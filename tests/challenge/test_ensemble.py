"""Runs that may be put together, and those that must not."""

import numpy as np
import pytest

from mmt_plugin.challenge.ensemble import (
    MismatchError,
    RunFeatures,
    check_same_images,
    ensemble,
    image_distances,
)

QUERY = [("q/0.jpg", 1, 0), ("q/1.jpg", 2, 1)]
GALLERY = [("g/0.jpg", 1, 1), ("g/1.jpg", 2, 0), ("g/2.jpg", 3, 2)]


def unit(size, seed):
    features = np.random.default_rng(seed).standard_normal((5, size)).astype(np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def of(run, size=4, seed=0, query=QUERY, gallery=GALLERY, features=None):
    return RunFeatures(run, query, gallery, unit(size, seed) if features is None else features)


def test_squared_distances_of_an_ensemble_are_the_mean_of_its_runs():
    parts = [of("logs/a", 4, 1), of("logs/b", 7, 2), of("logs/c", 3, 3)]
    together = ensemble(parts)
    assert together.features.shape == (5, 14)
    np.testing.assert_allclose(np.linalg.norm(together.features, axis=1), 1, atol=1e-6)
    for i in range(2):
        for j in range(2, 5):
            alone = [np.sum((part.features[i] - part.features[j]) ** 2) for part in parts]
            found = np.sum((together.features[i] - together.features[j]) ** 2)
            assert found == pytest.approx(np.mean(alone), abs=1e-5)


def test_an_ensemble_of_one_is_the_run():
    part = of("logs/a")
    together = ensemble([part])
    assert together.run == "logs/a"
    np.testing.assert_allclose(together.features, part.features, atol=1e-6)


def test_a_camera_model_subtracts():
    identity, camera = of("logs/a"), of("logs/camera", 3, seed=5)
    block = np.concatenate(list(image_distances(identity, camera, 0.5).query_blocks()))
    for i in range(2):
        for j in range(3):
            f, c = (part.features[i] - part.features[2 + j] for part in (identity, camera))
            assert block[i, j] == pytest.approx(f @ f - 0.5 * c @ c, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gallery": GALLERY[:2], "features": unit(4, 1)[:4]}, "logs/a has 3 gallery images, logs/b 2"),
        ({"gallery": GALLERY[::-1]}, r"logs/a and logs/b .*gallery of one has 0\.jpg .* other has 2\.jpg"),
        ({"query": [("q/0.jpg", 9, 0), QUERY[1]]}, r"query of one has 0\.jpg \(identity 1.*\(identity 9"),
        ({"query": [("other/0.jpg", 1, 0), QUERY[1]]}, "in q, that of the other .* in other"),
    ],
)
def test_other_galleries_are_refused_by_name(change, message):
    one, other = of("logs/a"), of("logs/b", **change)
    for combine in (check_same_images, image_distances, lambda a, b: ensemble([a, b])):
        with pytest.raises(MismatchError, match=message):
            combine(one, other)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (3 * unit(4, 0), "logs/a: features are of length 3 to 3, not L2-normalised"),
        (unit(4, 0)[:4], r"logs/a: features of shape \(4, 4\) for 5 images"),
        (unit(4, 0) * np.nan, "logs/a: features are NaN or infinite"),
    ],
)
def test_features_that_cannot_be_compared_are_refused_by_name(features, message):
    with pytest.raises(MismatchError, match=message):
        of("logs/a", features=features)


def test_a_run_counts_once():
    with pytest.raises(MismatchError, match="logs/b: named twice"):
        ensemble([of("logs/a"), of("logs/b"), of("logs/b")])


def test_missing_camera_ids_are_named():
    without = [(path, identity, 0) for path, identity, _ in QUERY]
    features = of("logs/a", query=without, gallery=[(p, i, 0) for p, i, _ in GALLERY])
    with pytest.raises(MismatchError, match=r"logs/a: the test set has no camera ids \(q/0\.jpg"):
        features.check_labels()
    of("logs/a").check_labels()


def test_unlabelled_sets_are_recognised():
    assert of("logs/a").is_labelled
    unknown = {"query": [(p, 0, 0) for p, *_ in QUERY], "gallery": [(p, 0, 0) for p, *_ in GALLERY]}
    assert not of("logs/a", **unknown).is_labelled
