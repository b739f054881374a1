"""Samplers draw from generators of their own, and refuse what they could never deliver."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from fastreid.data.samplers import (
    BalancedIdentitySampler,
    ImbalancedDatasetSampler,
    NaiveIdentitySampler,
    TrainingSampler,
)
from fastreid.utils import comm

IDENTITY_SAMPLERS = (BalancedIdentitySampler, NaiveIdentitySampler)


def make_items(identities=6, images=4, cameras=2):
    return [(f"{i}_{j}.jpg", f"id{i}", f"cam{j % cameras}") for i in range(identities) for j in range(images)]


def make_all(items):
    return [
        TrainingSampler(len(items), seed=5),
        BalancedIdentitySampler(items, 8, 2, seed=5),
        NaiveIdentitySampler(items, 8, 2, seed=5),
        ImbalancedDatasetSampler(items, seed=5),
    ]


def take(sampler, count):
    return list(islice(sampler, count))


@pytest.mark.parametrize("sampler", IDENTITY_SAMPLERS)
@pytest.mark.parametrize(
    ("identities", "batch", "instances", "message"),
    [
        (3, 16, 4, "needs 4 identities.*has 3.*SOLVER.IMS_PER_BATCH.*DATALOADER.NUM_INSTANCE"),
        (0, 16, 4, "has 0"),
        (6, 10, 4, "10 images.*with 4 of each.*multiple"),
        (6, 2, 4, "2 images.*multiple"),
    ],
)
def test_impossible_batches_are_refused(sampler, identities, batch, instances, message):
    with pytest.raises(ValueError, match=message):
        sampler(make_items(identities), batch, instances)


def test_empty_sets_are_refused():
    for make in (
        lambda: TrainingSampler(0),
        lambda: TrainingSampler(size=0),
        lambda: ImbalancedDatasetSampler([]),
    ):
        with pytest.raises(ValueError, match="training set is empty"):
            make()


@pytest.mark.parametrize("sampler", IDENTITY_SAMPLERS)
@pytest.mark.parametrize("images", [1, 2, 3, 4, 7])
def test_batches_hold_p_identities_with_k_images(sampler, images):
    items = make_items(identities=7, images=images)
    indices = take(sampler(items, 8, 4, seed=0), 20 * 8)
    for start in range(0, len(indices), 8):
        assert sorted(Counter(items[i][1] for i in indices[start : start + 8]).values()) == [4, 4]
    assert {items[i][1] for i in indices} == {item[1] for item in items}


def test_balanced_prefers_other_cameras_than_the_anchors():
    items = make_items(identities=4, images=8)
    for k in range(0, 80, 4):
        anchor, *others = take(BalancedIdentitySampler(items, 8, 4, seed=0), 80)[k : k + 4]
        assert all(items[other][2] != items[anchor][2] for other in others)
        assert len(set(others)) == 3


def test_global_generators_are_neither_used_nor_touched():
    items = make_items()
    expected = [take(sampler, 48) for sampler in make_all(items)]
    np.random.seed(1)
    torch.manual_seed(1)
    untouched = np.random.RandomState(1).random_sample(3)
    interleaved = [[] for _ in expected]
    iterators = [iter(sampler) for sampler in make_all(items)]
    for _ in range(48):
        for indices, iterator in zip(interleaved, iterators, strict=True):
            indices.append(next(iterator))
    assert interleaved == expected
    assert np.array_equal(np.random.random_sample(3), untouched)
    assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(1)))
    assert all(type(index) is int for indices in expected for index in indices)


def test_training_sampler_covers_every_image_once_a_round():
    indices = take(TrainingSampler(10, seed=0), 30)
    assert all(sorted(indices[start : start + 10]) == list(range(10)) for start in (0, 10, 20))
    assert take(TrainingSampler(3, shuffle=False, seed=0), 6) == [0, 1, 2, 0, 1, 2]


def test_imbalanced_sampler_draws_identities_alike():
    items = [*make_items(identities=1, images=30), ("b.jpg", "rare", "cam0")]
    counts = Counter(items[i][1] for i in take(ImbalancedDatasetSampler(items, seed=0), 2000))
    assert 0.4 < counts["rare"] / 2000 < 0.6


RANKED = {
    "random": lambda items: TrainingSampler(len(items), seed=5),
    "balanced": lambda items: BalancedIdentitySampler(items, 4, 2, seed=5),
    "naive": lambda items: NaiveIdentitySampler(items, 4, 2, seed=5),
    "imbalanced": lambda items: ImbalancedDatasetSampler(items, seed=5),
}


def take_on_each_of_two_ranks(monkeypatch, make, items, count):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    streams = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        streams.append(take(make(items), count))
    return streams


@pytest.mark.parametrize("name", RANKED)
def test_two_ranks_share_one_stream(monkeypatch, name):
    items = make_items(identities=4)
    streams = take_on_each_of_two_ranks(monkeypatch, RANKED[name], items, 16)
    monkeypatch.setattr(comm, "get_rank", lambda: 0)
    sampler = RANKED[name](items)
    sampler._world_size = 1
    if name in ("random", "imbalanced"):
        assert [index for pair in zip(*streams, strict=True) for index in pair] == take(sampler, 32)
    else:
        assert not set(streams[0][:4]) & set(streams[1][:4])


@pytest.mark.parametrize("name", ["balanced", "naive"])
@pytest.mark.parametrize("images", [1, 4])
def test_every_rank_gets_whole_identities(monkeypatch, name, images):
    items = make_items(identities=4, images=images)
    for indices in take_on_each_of_two_ranks(monkeypatch, RANKED[name], items, 16):
        for start in range(0, 16, 4):
            assert sorted(Counter(items[i][1] for i in indices[start : start + 4]).values()) == [2, 2]
