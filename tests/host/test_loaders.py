"""Loaders on the configured device, that fail loudly and end."""

import gc
import pickle
import pickletools
import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from fastreid.data import CommDataset, build, build_reid_test_loader, build_reid_train_loader

from mmt_plugin.host.loaders import DataLoaderX
from mmt_plugin.host.prefetch import Prefetcher

CPU = torch.device("cpu")


class Squares(torch.utils.data.Dataset):
    def __init__(self, unreadable=None):
        self.unreadable = unreadable

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == self.unreadable:
            raise OSError(f"image {index} cannot be read")
        return {"images": torch.tensor(index**2), "names": str(index)}


def prefetch_threads():
    return [thread for thread in threading.enumerate() if "_draw" in thread.name]


def endless():
    while True:
        yield {"images": torch.zeros(1)}


def test_train_loader_yields_cpu_batches_even_where_there_is_cuda(cfg, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    loader = build_reid_train_loader(cfg)
    assert loader.device == CPU
    assert not loader.pin_memory
    batch = next(iter(loader))
    assert batch["images"].shape == (16, 3, 64, 32)
    assert batch["targets"].dtype == torch.int64


def test_test_loader_follows_the_configured_number_of_workers(cfg):
    cfg.DATALOADER.NUM_WORKERS = 3
    assert build_reid_test_loader(cfg, dataset_name="Market1501")[0].num_workers == 3
    assert build_reid_test_loader(cfg, dataset_name="Market1501", num_workers=0)[0].num_workers == 0


def test_loader_without_config(market_root):
    data = CommDataset([(str(path), 0, 0) for path in sorted(market_root.rglob("query/*.jpg"))], lambda _: 0)
    train = build_reid_train_loader(data, total_batch_size=2)
    assert next(iter(train))["targets"].tolist() == [0, 0]
    test, num_query = build_reid_test_loader(data, test_batch_size=4, num_query=6, num_workers=0)
    assert (num_query, [len(batch["targets"]) for batch in test]) == (6, [4, 2])


def test_dataset_root_is_read_when_a_loader_is_built(cfg, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        build_reid_train_loader(cfg)


def test_empty_test_set_is_named(cfg, monkeypatch, tmp_path):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "Market-1501-v15.09.15" / folder).mkdir(parents=True)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(ValueError, match=r"Market1501.*holds no images"):
        build_reid_test_loader(cfg, dataset_name="Market1501")


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_stops_the_loop(workers):
    loader = DataLoaderX(device="cpu", dataset=Squares(unreadable=5), batch_size=2, num_workers=workers)
    batches = iter(loader)
    assert [next(batches)["names"] for _ in range(2)] == [["0", "1"], ["2", "3"]]
    with pytest.raises(OSError, match="image 5"):
        next(batches)
    loader.shutdown()


def test_shutdown_ends_workers_and_may_come_at_any_time():
    loader = DataLoaderX(device="cpu", dataset=Squares(), batch_size=2, num_workers=1)
    loader.shutdown()
    batches = iter(loader)
    next(batches)
    worker = batches._workers[0]
    loader.shutdown()
    loader.shutdown()
    assert not worker.is_alive()


def test_prefetcher_yields_every_batch_in_order_and_then_stops():
    batches = Prefetcher(DataLoaderX(device="cpu", dataset=Squares(), batch_size=3), CPU, depth=2)
    assert [batch["images"].tolist() for batch in batches] == [[0, 1, 4], [9, 16, 25], [36, 49]]
    with pytest.raises(StopIteration):
        next(batches)


def test_prefetcher_raises_where_the_batch_would_have_been():
    batches = Prefetcher(DataLoaderX(device="cpu", dataset=Squares(unreadable=3), batch_size=2), CPU)
    assert next(batches)["names"] == ["0", "1"]
    for _ in range(2):
        with pytest.raises(OSError, match="image 3"):
            next(batches)


def test_prefetcher_leaves_no_thread():
    before = len(prefetch_threads())
    for _ in range(3):
        next(Prefetcher(endless(), CPU, depth=1))
    gc.collect()
    assert len(prefetch_threads()) == before
    batches = Prefetcher(endless(), CPU, depth=1)
    next(batches)
    assert len(prefetch_threads()) == before + 1
    batches.shutdown()
    batches.shutdown()
    assert len(prefetch_threads()) == before
    with pytest.raises(StopIteration):
        next(batches)


def test_loader_prefetches_for_other_devices_and_shuts_down():
    loader = DataLoaderX(device="meta", dataset=Squares(), batch_size=2)
    batches = iter(loader)
    assert next(batches)["images"].device.type == "meta"
    loader.shutdown()
    assert not prefetch_threads()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([np.int64(3), np.int64(4)], torch.tensor([3, 4])),
        ([np.arange(2), np.arange(2)], torch.tensor([[0, 1], [0, 1]])),
        ([1.5, 2.5], torch.tensor([1.5, 2.5], dtype=torch.float64)),
        ([torch.ones(2), torch.zeros(2)], torch.tensor([[1.0, 1.0], [0.0, 0.0]])),
    ],
)
def test_every_type_is_collated(values, expected):
    batch = build.fast_batch_collator([{"value": value, "path": "a.jpg"} for value in values])
    assert batch["value"].dtype == expected.dtype
    assert torch.equal(batch["value"], expected)
    assert batch["path"] == ["a.jpg"] * len(values)


def test_pickled_dataset_imports_the_plugin_before_the_host():
    dataset = CommDataset([("a.jpg", "id", "camera")], transform=None)
    pickled = pickle.dumps(dataset, protocol=2)
    modules = [
        str(argument) for opcode, argument, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"
    ]
    assert modules[0].startswith("mmt_plugin.")
    restored = pickle.loads(pickled)
    assert type(restored) is CommDataset
    assert vars(restored) == vars(dataset)


class RecordingStream:
    def __init__(self, log):
        self.log = log

    def wait_stream(self, other):
        self.log.append("wait")


def test_cuda_batches_are_copied_aside_and_waited_for(monkeypatch):
    """The CUDA path with every call that needs a GPU recorded instead of made."""
    log = []
    monkeypatch.setattr("torch.cuda.Stream", lambda device: RecordingStream(log))
    monkeypatch.setattr("torch.cuda.stream", lambda stream: nullcontext())
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: RecordingStream(log))
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **kwargs: log.append(("copy", kwargs)) or self)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: log.append("record"))
    batches = Prefetcher([{"images": torch.ones(1)}, {"images": torch.zeros(1)}], torch.device("cuda", 0))
    assert [batch["images"].item() for batch in batches] == [1, 0]
    copy = ("copy", {"non_blocking": True})
    assert log == [copy, "wait", "record", copy, "wait", "record"]
