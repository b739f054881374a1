"""The cache of decoded images: the same pixels, read once, whatever happens in between."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from batches import assert_same, collect

from mmt_plugin.config import ConfigError, check_config
from mmt_plugin.data import cache, unreadable
from mmt_plugin.data.build import build_extraction_loader, build_train_loader, train_images
from mmt_plugin.data.cache import CachedFiles
from mmt_plugin.data.dataset import DatasetError, ImageFiles
from mmt_plugin.data.items import dense_ids, training_items
from mmt_plugin.system.decoding import UnreadableImageError


@pytest.fixture
def world(tiny_config, tmp_path, monkeypatch):
    """A function: overrides -> a config, and the images of a set of its own that tests may spoil."""
    own = tmp_path / "images"

    def make(**overrides):
        cfg = tiny_config(**{"DATALOADER__CACHE": str(tmp_path / "cache"), **overrides})
        if not own.exists():
            shutil.copytree(Path(training_items(cfg.DATASETS.TARGETS)[0][0]).parent, own)
        items = [
            (str(own / Path(path).name), *labels) for path, *labels in training_items(cfg.DATASETS.TARGETS)
        ]
        return cfg, items

    return make


@pytest.fixture
def reads(monkeypatch):
    """Counts the files that all processes decode, and kills the one that asks for another after `fatal`."""
    count = multiprocessing.get_context("fork").Value("i", 0)
    count.fatal = None
    genuine = unreadable.read_image

    def counted(path):
        if count.value == count.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        with count.get_lock():
            count.value += 1
        return genuine(path)

    monkeypatch.setattr(unreadable, "read_image", counted)
    return count


def batches(cfg, items):
    loader = build_train_loader(cfg, items)
    loader.set_labels(dense_ids([item[1] for item in items]))
    found = [collect(loader, epoch) for epoch in range(2)]
    loader.close()
    extraction = build_extraction_loader(cfg, items)
    return [batch for epoch in found for batch in epoch], list(extraction)


def pixels(files):
    return [np.asarray(files[i]) for i in range(len(files))]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_and_features_images_are_the_same_with_and_without_it(world, workers):
    without = batches(*world(DATALOADER__CACHE=""))
    for _ in ("filled", "found"):
        trained, extracted = batches(*world(DATALOADER__NUM_WORKERS=workers))
        assert_same(trained, without[0])
        assert all(map(torch.equal, extracted, without[1]))


def test_files_are_read_once_for_all_runs(world, reads):
    cfg, items = world()
    batches(cfg, items)
    assert reads.value == len(items)
    batches(cfg, items)
    assert reads.value == len(items)


def test_another_size_or_set_is_cached_beside_the_first(world, reads):
    batches(*world())
    batches(*world(INPUT__SIZE_TRAIN=[32, 16]))
    assert reads.value == 2 * 60  # extraction has the first size, for which the cache is there
    cfg, items = world()
    train_images(cfg, items[:7], 1)
    assert reads.value == 2 * 60 + 7
    assert sum(path.is_dir() for path in Path(cfg.DATALOADER.CACHE).iterdir()) == 3


def test_test_images_of_another_size_come_from_their_files(world, reads):
    cfg, items = world(INPUT__SIZE_TEST=[48, 24])
    _, extracted = batches(cfg, items)
    assert extracted[0].shape[1:] == (3, 48, 24)
    assert reads.value == 2 * len(items)


def _fill(files, folder):
    CachedFiles(files, folder).fill(workers=0)


@pytest.mark.fault
def test_a_killed_filling_is_continued(world, reads, monkeypatch, observe):
    monkeypatch.setattr(cache, "READ_AT_ONCE", 5)
    monkeypatch.setattr(cache, "BATCHES_TO_SYNC", 2)
    cfg, items = world()
    files = train_images(world(DATALOADER__CACHE="")[0], items, 1).pictures
    expected = pixels(files)
    for fatal, kept in ((0, 0), (9, 0), (27, 20), (34, 50)):
        reads.value, reads.fatal = 0, fatal
        process = multiprocessing.get_context("fork").Process(
            target=_fill, args=(files, cfg.DATALOADER.CACHE)
        )
        process.start()
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
        cached = CachedFiles(files, cfg.DATALOADER.CACHE)
        assert not cached.is_complete()
        assert (np.load(cached.folder / cache.ROWS) == cache.THERE).sum() == kept
    reads.value, reads.fatal = 0, None
    cached.fill(workers=0)
    assert reads.value == len(items) - kept
    reads.value = 0
    assert all(map(np.array_equal, pixels(cached), expected))
    assert reads.value == 0
    observe("process killed while it fills the image cache", "filled by the next", "up to 16 batches", 4)


def test_of_several_processes_one_reads(world, reads):
    cfg, items = world()
    files = train_images(world(DATALOADER__CACHE="")[0], items, 1).pictures
    processes = [
        multiprocessing.get_context("fork").Process(target=_fill, args=(files, cfg.DATALOADER.CACHE))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 3
    assert reads.value == len(items)


def test_a_worker_process_is_not_sent_the_pictures(world):
    cfg, items = world()
    cached = train_images(cfg, items, 1).pictures
    picture = cached[3]
    sent = pickle.dumps(cached)
    assert len(sent) < 64 * 32 * 3 * len(items) / 2
    assert np.array_equal(pickle.loads(sent)[3], picture)


def _touch(path, folder):
    os.utime(path, ns=(0, 0))


def _rewrite(path, folder):
    Path(path).write_bytes(Path(path).read_bytes() + b"\0")


def _delete(path, folder):
    Path(path).unlink()


def _other_interpolation(path, folder):
    about = json.loads((folder / cache.ABOUT).read_text())
    (folder / cache.ABOUT).write_text(json.dumps({**about, "interpolation": "bilinear"}))


def _garble(path, folder):
    (folder / cache.ABOUT).write_text("{")


def _truncate(path, folder):
    os.truncate(folder / cache.PICTURES, 5000)


def _lose(path, folder):
    (folder / cache.ROWS).unlink()


@pytest.mark.fault
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_touch, "files was"),
        (_rewrite, "files was"),
        (_delete, "files was"),
        (_other_interpolation, "interpolation was 'bilinear' and is 'bicubic'"),
        (_garble, "not valid JSON"),
        (_truncate, r"pictures\.npy is missing or damaged"),
        (_lose, r"rows\.npy is missing or damaged"),
    ],
)
def test_a_cache_of_other_images_is_refused(world, observe, change, reason):
    cfg, items = world()
    cached = train_images(cfg, items, 1).pictures
    change(items[4][0], cached.folder)
    with pytest.raises(DatasetError, match=rf"{cached.folder.name} .*{reason}.*DATALOADER\.CACHE") as error:
        train_images(cfg, items, 1)
    observe(f"image cache of changed files, or damaged ({change.__name__[1:]})", error.value)


@pytest.mark.fault
def test_unreadable_images_are_what_they_are_without_it(world, observe):
    strict, items = world()
    spoiled = Path(items[7][0])
    content = spoiled.read_bytes()
    spoiled.write_bytes(content[: len(content) // 3])
    with pytest.raises(UnreadableImageError, match=spoiled.name):
        train_images(strict, items, 1)
    results = []
    for folder in ("", strict.DATALOADER.CACHE):
        skip = {"DATALOADER__ON_BAD_IMAGE": "skip", "DATALOADER__MAX_BAD_IMAGES": 0.1}
        results.append(batches(*world(DATALOADER__CACHE=folder, **skip)))
    assert_same(*(trained for trained, _ in results))
    for ours, expected in zip(*(extracted for _, extracted in results), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(UnreadableImageError, match=spoiled.name) as error:
        train_images(strict, items, 1)[7, 0]  # not where it is found in the cache
    observe("unreadable image and an image cache", error.value)


@pytest.mark.fault
def test_a_full_disk_is_an_error_before_anything_is_read(world, tmp_path, reads, observe):
    cfg, items = world()
    side = int((10 * shutil.disk_usage(tmp_path).free / len(items) / 3) ** 0.5)
    resize = train_images(world(DATALOADER__CACHE="")[0], items, 1).pictures.resize
    resize.size = [side, side]
    cached = CachedFiles(ImageFiles([item[0] for item in items], resize), cfg.DATALOADER.CACHE)
    needed = rf"{side * side * 3 * len(items):,} bytes"
    with pytest.raises(DatasetError, match=rf"{cached.folder.name} .*{needed}.*DATALOADER\.CACHE") as error:
        cached.fill(workers=0)
    assert not cached.folder.exists()
    assert reads.value == 0
    observe("no room for the image cache", error.value)


def test_a_folder_that_cannot_be_made_is_named(world, tmp_path):
    (tmp_path / "file").write_text("")
    cfg, items = world(DATALOADER__CACHE=str(tmp_path / "file" / "cache"))
    with pytest.raises(DatasetError, match=r"file/cache.*Not a directory.*DATALOADER\.CACHE"):
        train_images(cfg, items, 1)


def test_what_cannot_be_cached_is_refused_by_key(tiny_config):
    check_config(tiny_config(DATALOADER__CACHE="x"))
    with pytest.raises(ConfigError, match=r"DATALOADER\.CACHE.*INPUT\.AUTOAUG\.ENABLED"):
        check_config(tiny_config(DATALOADER__CACHE="x", INPUT__AUTOAUG__ENABLED=True))
    with pytest.raises(ConfigError, match=r"DATALOADER\.CACHE.*INPUT\.SIZE_TRAIN \[64\]"):
        check_config(tiny_config(DATALOADER__CACHE="x", INPUT__SIZE_TRAIN=[64]))


def test_a_complete_cache_needs_no_lock(world, monkeypatch, tmp_path):
    """As on a read-only disk, where one machine has filled it for many."""
    cfg, items = world()
    train_images(cfg, items, 1)
    before = sorted(tmp_path.rglob("*"))

    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("mmt_plugin.data.processes.FileLock", refuse)
    for path in before:
        path.chmod(path.stat().st_mode & ~0o222)
    assert train_images(cfg, items, 1).pictures.is_complete()
    for path in before:
        path.chmod(path.stat().st_mode | 0o200)
    shutil.rmtree(cfg.DATALOADER.CACHE)
    with pytest.raises(DatasetError, match=r"cannot be written \(Read-only file system\)"):
        train_images(cfg, items, 1)


def test_room_is_taken_where_the_system_has_no_call_for_it(world, monkeypatch):
    """macOS and Windows have no posix_fallocate."""
    cfg, items = world()
    expected = train_images(cfg, items, 1).pictures
    wanted = {path.name: path.read_bytes() for path in expected.folder.iterdir()}
    shutil.rmtree(cfg.DATALOADER.CACHE)
    monkeypatch.delattr(os, "posix_fallocate")
    train_images(cfg, items, 1)
    assert {path.name: path.read_bytes() for path in expected.folder.iterdir()} == wanted
