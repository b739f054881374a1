"""Loaders: labels looked up per epoch, the same images whatever the number of workers."""

import numpy as np
import pytest
import torch
from batches import assert_same, collect

from mmt_plugin.data.build import build_extraction_loader, build_train_loader, end_workers, epoch_length
from mmt_plugin.data.items import dense_ids, training_items
from mmt_plugin.data.joint import build_joint_loader


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


def worker_processes(loader):
    """Process numbers of a loader's workers, in order."""
    return [worker.pid for worker in loader._iterator._workers]


@pytest.mark.parametrize("name", ["plaza2metro_mmt", "plaza2metro_mmt_plus"])
def test_workers_outlive_epochs_and_new_labels(tiny_config, name):
    cfg = tiny_config(name, DATALOADER__NUM_WORKERS=2)
    items = training_items(cfg.DATASETS.TARGETS)
    if cfg.MMT.JOINT.ENABLED:
        loader = build_joint_loader(cfg, training_items(cfg.DATASETS.NAMES), items)
        parts = [loader.source.loader, loader.target.loader]
    else:
        loader = build_train_loader(cfg, items)
        parts = [loader.loader]
    seen = []
    for epoch, clusters in enumerate((6, 4, 7)):
        loader.set_labels(np.arange(60) % clusters)
        list(loader.epoch(epoch))
        seen.append([worker_processes(part) for part in parts])
    loader.close()
    assert seen[0] == seen[1] == seen[2]
    assert len({pid for part in seen[0] for pid in part}) == 2 * len(parts)


def test_extraction_keeps_its_workers(tiny_config):
    cfg = tiny_config(DATALOADER__NUM_WORKERS=2)
    loader = build_extraction_loader(cfg, training_items(cfg.DATASETS.TARGETS))
    seen = []
    for _ in range(2):
        assert all(batch.dtype == torch.uint8 for batch in loader)
        seen.append(worker_processes(loader))
    end_workers(loader)
    assert seen[0] == seen[1]


def test_workers_hand_over_bytes_and_training_sees_the_erased_floats(tiny_config):
    erasing = {"INPUT__REA__ENABLED": True, "INPUT__REA__PROB": 1.0}
    cfg = tiny_config(INPUT__REA__VALUE=[0.25, 0.5, 0.75], **erasing)
    items = training_items(cfg.DATASETS.TARGETS)
    loader = build_train_loader(cfg, items)
    loader.set_labels(dense_ids([item[1] for item in items]))
    (raw, *_), (batch, *_) = loader.loader, loader.epoch(0)
    assert raw["images"].dtype == torch.uint8
    assert torch.equal(raw["indices"], batch["indices"])
    assert "erased" not in batch
    filled = batch["images"] == torch.tensor([0.25, 0.5, 0.75]).view(3, 1, 1)
    areas = raw["erased"][..., 2] * raw["erased"][..., 3]
    assert areas.min() > 0
    assert torch.equal(filled.sum(dim=(2, 3, 4)), 3 * areas)
    assert torch.equal(batch["images"][~filled], raw["images"].float()[~filled])


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
