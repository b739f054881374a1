"""What a run keeps of its label steps."""

import numpy as np
import pytest

from mmt_plugin.pseudo_labels import PseudoLabels
from mmt_plugin.report.label_record import (
    FIRST,
    LAST,
    LabelRecord,
    LabelRecorder,
    pair_distances,
    sample_images,
)
from mmt_plugin.report.records import FOLDER, RecordError, load_record
from mmt_plugin.system.files import UNFINISHED


def unit_features(count: int, size: int = 8, seed: int = 0) -> np.ndarray:
    features = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize("size", [1, 30, 77, 200])
def test_a_sample_has_whole_clusters_and_its_share_of_outliers(size):
    labels = np.repeat(np.arange(-1, 19), 10)  # 10 outliers, 19 clusters of 10
    labels = np.random.default_rng(1).permutation(labels)
    sample = sample_images(labels, size)
    assert len(np.unique(sample)) == len(sample) == min(size, len(labels))
    chosen = labels[sample]
    assert (chosen < 0).sum() == round(size * 10 / 200)
    _, counts = np.unique(chosen[chosen >= 0], return_counts=True)
    assert (counts < 10).sum() <= 1  # the last one is cut


def test_pairs_are_of_one_group_or_of_two():
    features, groups = unit_features(40), np.repeat([0, 1, 2, -1], 10)
    positives, negatives = pair_distances(features, groups, count=500)
    distances = (1 - features @ features.T).astype(np.float16)
    possible = {True: set(), False: set()}
    for i in range(30):
        for j in range(30):
            if i != j:
                possible[bool(groups[i] == groups[j])].add(float(distances[i, j]))
    near = lambda values, known: all(min(abs(v - k) for k in known) < 2e-3 for v in values)  # noqa: E731
    assert len(positives) == 500
    assert near(positives.astype(float), possible[True])
    assert near(negatives.astype(float), possible[False])
    # Every pair of 3 groups of 10 is about equally likely.
    assert len(np.unique(positives)) > 0.9 * 3 * 45


def test_other_features_meet_the_same_pairs():
    groups = np.repeat(np.arange(6), 5)
    features = unit_features(30)
    before = pair_distances(features, groups, count=100)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0].astype(np.float32)
    after = pair_distances(3 * features @ rotation, groups, count=100)  # all distances stay as they are
    for old, new in zip(before, after, strict=True):
        assert np.allclose(old.astype(float), new.astype(float), atol=2e-3)


@pytest.mark.parametrize(
    ("groups", "positives", "negatives"),
    [([-1] * 6, 0, 0), ([0] * 6, 50, 0), (range(6), 0, "some"), ([], 0, 0)],
)
def test_pairs_that_do_not_exist_are_not_invented(groups, positives, negatives):
    groups = np.array(groups, dtype=int)
    found = pair_distances(unit_features(len(groups)), groups, count=50)
    assert len(found[0]) == positives
    assert len(found[1]) > 0 if negatives == "some" else len(found[1]) == negatives


@pytest.fixture
def recorder(tmp_path):
    items = [(f"/data/{i}.jpg", 0, 0) for i in range(40)]
    return lambda truth=None, size=15: LabelRecorder(str(tmp_path), items, truth, size)


def labelled(features: np.ndarray, labels) -> PseudoLabels:
    return PseudoLabels.from_features(np.asarray(labels), features)


def load(tmp_path, name: str) -> LabelRecord | None:
    return load_record(LabelRecord, tmp_path / FOLDER / name)


def test_the_first_and_the_latest_label_step_are_kept_with_the_same_images(recorder, tmp_path):
    labels = np.repeat([0, 1, 2, -1], 10)
    for epoch in range(3):
        features = unit_features(40, seed=epoch)
        recorder().record(epoch, features * 3, labelled(features, (labels + epoch) % 4 - 1))
    first, last = load(tmp_path, FIRST), load(tmp_path, LAST)
    assert (first.epoch, last.epoch, last.pairs_of) == (0, 2, "clusters")
    assert len(first.sample) == 15
    assert np.array_equal(first.sample, last.sample)
    assert np.allclose(last.features, features[last.sample], atol=1e-3)
    for i, label in enumerate(last.labels):
        if label < 0:
            assert np.isnan(last.distances[i])
        else:
            centre = features[last.labels == label].mean(axis=0)
            expected = 1 - features[i] @ centre / np.linalg.norm(centre)
            assert last.distances[i] == pytest.approx(expected, abs=2e-3)


def test_unreadable_images_are_left_out(recorder, tmp_path):
    features, labels = unit_features(40), np.repeat([0, 1, 2, -1], 10)
    broken = features.copy()
    broken[[3, 35]] = np.nan
    found = labelled(features, np.where(np.isnan(broken).any(axis=1), -1, labels))
    recorder(truth=np.arange(40) // 4, size=100).record(0, broken, found)
    record = load(tmp_path, FIRST)
    assert record.pairs_of == "identities"
    assert sorted(set(range(40)) - set(record.sample.tolist())) == [3, 35]
    for values in (record.features, record.positives, record.negatives):
        assert len(values)
        assert np.isfinite(values).all()


def test_a_run_that_starts_anew_forgets_the_last_step_of_the_old_one(recorder, tmp_path):
    features = unit_features(40)
    for epoch in (0, 1, 0):
        recorder().record(epoch, features, labelled(features, np.arange(40) % 4))
    assert load(tmp_path, FIRST).epoch == 0
    assert load(tmp_path, LAST) is None


def test_a_record_of_a_hundred_thousand_images_is_small(tmp_path):
    count, size = 100_000, 64
    labels = np.arange(count) % 5000
    features = unit_features(count, size)
    items = [(f"/data/{i}.jpg", 0, 0) for i in range(count)]
    LabelRecorder(str(tmp_path), items, None, 1200).record(0, features, labelled(features, labels))
    bytes_without_features = (tmp_path / FOLDER / FIRST).stat().st_size - 1200 * size * 2
    assert bytes_without_features < 1_000_000


def test_what_a_killed_run_left_half_written_is_removed(recorder, tmp_path):
    (tmp_path / FOLDER).mkdir()
    left = tmp_path / FOLDER / f"{LAST}.123{UNFINISHED}"
    left.write_bytes(b"half")
    recorder()
    assert not left.exists()


def test_a_damaged_record_is_named(recorder, tmp_path):
    features = unit_features(40)
    recorder().record(0, features, labelled(features, np.arange(40) % 4))
    path = tmp_path / FOLDER / FIRST
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RecordError, match=r"first_labels\.npz is damaged"):
        load(tmp_path, FIRST)
