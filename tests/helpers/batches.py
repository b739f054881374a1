"""Batches: of three classes, made up; of a loader, collected and compared."""

import torch

TARGETS = torch.tensor([0, 0, 1, 1, 2, 2])


def batch(views: int = 2, seed: int = 0, size: tuple[int, int] = (64, 32)) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {"images": 255 * torch.rand(6, views, 3, *size, generator=generator), "targets": TARGETS}


def collect(loader, epoch: int) -> list[dict]:
    """Copies of an epoch's batches."""
    return [{key: value.clone() for key, value in batch.items()} for batch in loader.epoch(epoch)]


def assert_same(first: list[dict], second: list[dict]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
