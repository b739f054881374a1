"""Batch samplers: what a batch holds, and that it depends on (seed, epoch) only."""

from itertools import chain

import numpy as np
import pytest

from mmt_plugin.data.samplers import GroupBatchSampler, IdentityBatchSampler, ShuffledBatchSampler


def identity_sampler(labels, cameras=None, batch=8, k=2, batches=6, seed=3, **ranks):
    sampler = IdentityBatchSampler(
        np.zeros(len(labels)) if cameras is None else cameras, batch, k, batches, seed, **ranks
    )
    sampler.set_labels(labels)
    return sampler


def indices(batch):
    return [index for index, _ in batch]


def groups(batch, k):
    return np.reshape(indices(batch), (-1, k))


def test_groups_hold_one_identity_each():
    labels = np.arange(60) % 10
    for batch in identity_sampler(labels, batch=16, k=4):
        assert len(batch) == 16
        members = labels[groups(batch, 4)]
        assert (members == members[:, :1]).all()
        assert len(set(members[:, 0])) == 4
        assert len(set(indices(batch))) == 16


def test_left_out_images_are_never_drawn():
    labels = np.arange(40) % 8
    labels[::3] = -1
    drawn = set(chain.from_iterable(indices(b) for b in identity_sampler(labels, batches=50)))
    assert drawn == set(np.flatnonzero(labels >= 0))


def test_every_identity_comes_once_in_a_pass():
    labels = np.arange(48) % 12
    drawn = [labels[groups(b, 2)][:, 0] for b in identity_sampler(labels, batch=8, batches=6)]
    passes = np.concatenate(drawn).reshape(2, 12)
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert passes[0].tolist() != passes[1].tolist()


def test_other_cameras_are_preferred():
    labels = np.repeat(np.arange(4), 8)
    cameras = np.tile([0, 0, 0, 0, 0, 1, 1, 2], 4)
    for batch in identity_sampler(labels, cameras, batch=8, k=4, batches=20):
        for group in groups(batch, 4):
            first, *others = cameras[group]
            assert first not in others
            if (cameras[:8] != first).sum() >= 3:
                assert len(set(group)) == 4


def test_one_camera_only_draws_other_images():
    labels = np.repeat(np.arange(4), 5)
    for batch in identity_sampler(labels, batch=8, k=4, batches=10):
        assert all(len(set(group)) == 4 for group in groups(batch, 4))


def test_singletons_repeat_without_shifting_the_groups():
    labels = np.array([0, 1, 1, 1, 1, 2, 3, 3, 3, 3])
    for batch in identity_sampler(labels, batch=8, k=4, batches=10):
        members = labels[groups(batch, 4)]
        assert (members == members[:, :1]).all()


def test_fewer_identities_than_a_batch_needs():
    labels = np.repeat([0, 1], 6)
    for batch in identity_sampler(labels, batch=16, k=4):
        assert len(batch) == 16
        assert set(labels[indices(batch)]) == {0, 1}


@pytest.mark.parametrize("labels", [[-1] * 5, [0] * 5, [-1, 3, 3, -1, 3]])
def test_fewer_than_two_identities_are_refused(labels):
    with pytest.raises(ValueError, match="at least 2"):
        identity_sampler(np.array(labels))


def test_drawing_before_labels_is_an_error():
    with pytest.raises(RuntimeError, match="set_labels"):
        next(iter(IdentityBatchSampler([0, 0], 4, 2, 1, 0)))


def test_wrong_number_of_labels():
    with pytest.raises(ValueError, match="3 labels for 2 images"):
        IdentityBatchSampler([0, 0], 4, 2, 1, 0).set_labels([0, 1, 1])


@pytest.mark.parametrize("kind", ["identity", "shuffled"])
def test_epochs_replay_and_differ(kind):
    labels = np.arange(40) % 8
    sampler = identity_sampler(labels) if kind == "identity" else ShuffledBatchSampler(40, 8, 6, 3)
    sampler.set_epoch(1)
    first = list(sampler)
    np.random.rand(5)  # the global generator plays no part
    assert list(sampler) == first
    sampler.set_epoch(2)
    assert list(sampler) != first
    assert len(first) == len(sampler) == 6


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_the_same_batch(world_size):
    labels = np.arange(64) % 16
    whole = list(identity_sampler(labels, batch=16, k=2))
    parts = [
        list(identity_sampler(labels, batch=16, k=2, rank=r, world_size=world_size))
        for r in range(world_size)
    ]
    assert [list(chain.from_iterable(p[i] for p in parts)) for i in range(len(whole))] == whole


def test_batches_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="3 processes"):
        ShuffledBatchSampler(10, 8, 1, 0, rank=0, world_size=3)
    with pytest.raises(ValueError, match=r"NUM_INSTANCE 4"):
        IdentityBatchSampler([0, 1], 12, 4, 1, 0, rank=0, world_size=2)


def test_shuffled_batches_pass_over_all_images():
    drawn = list(chain.from_iterable(indices(b) for b in ShuffledBatchSampler(10, 4, 5, 0)))
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))


def test_batch_larger_than_the_set():
    batch = next(iter(ShuffledBatchSampler(3, 8, 1, 0)))
    assert len(batch) == 8
    assert set(indices(batch)) == {0, 1, 2}


def test_seeds_of_a_batch_differ():
    seeds = [seed for batch in ShuffledBatchSampler(10, 8, 10, 0) for _, seed in batch]
    assert len(set(seeds)) == 80


def test_an_epoch_can_be_taken_up_in_its_middle():
    sampler = ShuffledBatchSampler(20, 4, 5, seed=1)
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.set_epoch(3, start=2)
    assert list(sampler) == whole[2:]
    sampler.set_epoch(3)
    assert list(sampler) == whole


@pytest.mark.parametrize("seed", range(3))
def test_groups_show_every_image_once_a_pass(seed):
    """Sizes 1, 3, 4, 9: groups of 4, the last one of an identity filled up with its own images."""
    labels = np.array([5] + [0] * 3 + [7] * 4 + [2] * 9 + [-1] * 2)
    sampler = GroupBatchSampler(np.zeros(19), 24, 4, 2, seed)  # a batch is a pass: 1 + 1 + 1 + 3 groups
    sampler.set_labels(labels)
    for batch in sampler:
        members = labels[groups(batch, 4)]
        assert (members == members[:, :1]).all()
        assert sorted(members[:, 0]) == [0, 2, 2, 2, 5, 7]
        drawn, counts = np.unique(indices(batch), return_counts=True)
        assert drawn.tolist() == list(range(17))
        assert (counts[labels[drawn] == 7] == 1).all()
        assert counts.sum() == 24
    first = list(sampler)
    assert list(sampler) == first
    with pytest.raises(RuntimeError, match="set_labels"):
        next(iter(GroupBatchSampler(np.zeros(4), 4, 2, 1, 0)))
