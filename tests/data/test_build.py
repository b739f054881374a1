"""Loaders: labels looked up per epoch, the same images whatever the number of workers."""

import numpy as np
import pytest
import torch

from mmt_plugin.data.build import (
    build_extraction_loader,
    build_train_loader,
    dense_ids,
    epoch_length,
    training_items,
)


def collect(loader, epoch):
    return [{key: value.clone() for key, value in batch.items()} for batch in loader.epoch(epoch)]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_items_are_sorted_and_complete(tiny_config):
    cfg = tiny_config()
    items = training_items(cfg.DATASETS.TARGETS)
    assert len(items) == 60
    assert items == sorted(items)


def test_missing_training_images_are_named(tiny_config):
    tiny_config()
    with pytest.raises(RuntimeError, match="no training images"):
        training_items(())


def test_dense_ids():
    assert dense_ids(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]


def test_epoch_length(tiny_config):
    assert epoch_length(tiny_config(SOLVER__ITERS_PER_EPOCH=7), 3) == 7
    assert epoch_length(tiny_config(SOLVER__ITERS_PER_EPOCH=0), 60) == 7
    with pytest.raises(ValueError, match=r"SOLVER\.IMS_PER_BATCH"):
        epoch_length(tiny_config(SOLVER__ITERS_PER_EPOCH=0), 7)


def test_batches_do_not_depend_on_the_number_of_workers(tiny_config):
    batches = []
    for workers in (0, 2):
        cfg = tiny_config(DATALOADER__NUM_WORKERS=workers)
        items = training_items(cfg.DATASETS.TARGETS)
        loader = build_train_loader(cfg, items)
        loader.set_labels(dense_ids([item[1] for item in items]))
        batches.append(collect(loader, 1))
        assert_same(batches[-1], collect(loader, 1))  # and an epoch can be replayed
    assert_same(*batches)


def test_new_labels_hold_from_the_next_epoch_on(tiny_config):
    cfg = tiny_config(DATALOADER__NUM_WORKERS=1, SOLVER__ITERS_PER_EPOCH=4)
    items = training_items(cfg.DATASETS.TARGETS)
    loader = build_train_loader(cfg, items)
    for epoch, offset in enumerate((0, 100, 200)):
        loader.set_labels(np.arange(60) % 6 + offset)
        for batch in collect(loader, epoch):
            assert ((batch["targets"] >= offset) & (batch["targets"] < offset + 6)).all()


def test_an_abandoned_epoch_does_not_leak_into_the_next(tiny_config):
    cfg = tiny_config(DATALOADER__NUM_WORKERS=1, SOLVER__ITERS_PER_EPOCH=6)
    items = training_items(cfg.DATASETS.TARGETS)
    loader = build_train_loader(cfg, items)
    loader.set_labels(np.arange(60) % 6)
    expected = collect(loader, 5)
    next(loader.epoch(4))
    assert_same(collect(loader, 5), expected)


def test_bn_images_of_the_target_come_along(tiny_config):
    cfg = tiny_config("source", MMT__TARGET_BN=True)
    items = training_items(cfg.DATASETS.NAMES)
    loader = build_train_loader(cfg, items)
    loader.set_labels(dense_ids([item[1] for item in items]))
    batch = collect(loader, 0)[0]
    assert batch["images"].shape == (8, 1, 3, 64, 32)
    assert batch["bn_images"].shape == (8, 3, 64, 32)


def test_extraction_is_in_order_and_complete(tiny_config):
    cfg = tiny_config(TEST__IMS_PER_BATCH=7)
    items = training_items(cfg.DATASETS.TARGETS)[:17]
    loader = build_extraction_loader(cfg, items)
    images = torch.cat(list(loader))
    assert len(images) == 17
    assert torch.equal(images[9], loader.dataset[9])
