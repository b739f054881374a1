"""Which image of a batch belongs to which domain, for the layers that treat domains differently.

Shapes: B batch, M domains.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

# The domains of adaptation, by index; also the names of their branches in a checkpoint.
DOMAINS = ("source", "target")
SOURCE, TARGET = range(len(DOMAINS))

# A domain for all images, or runs of (domain, number of images) in batch order.
Route = int | tuple[tuple[int, int], ...]
_route: ContextVar[Route | None] = ContextVar("route", default=None)


@contextmanager
def route(domains: Tensor | int) -> Iterator[None]:
    """Say which domain each image that is forwarded meanwhile belongs to.

    Args:
        domains: one domain for all images, or B domain indices, best on the CPU. Domains may come in any
            order and in any shares; each run of equal ones is treated as a batch of its own.
    """
    token = _route.set(domains if isinstance(domains, int) else _runs(domains))
    try:
        yield
    finally:
        _route.reset(token)


@contextmanager
def same_route(known: Route | None) -> Iterator[None]:
    """Put the route that was `current_route` earlier in force again."""
    token = _route.set(known)
    try:
        yield
    finally:
        _route.reset(token)


def current_route() -> Route | None:
    """The innermost `route` in force, or None outside of all."""
    return _route.get()


def _runs(domains: Tensor) -> tuple[tuple[int, int], ...]:
    values, counts = torch.unique_consecutive(domains, return_counts=True)
    return tuple(zip(values.tolist(), counts.tolist(), strict=True))
