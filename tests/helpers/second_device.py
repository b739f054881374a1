"""A second device without a GPU: tensors that say they lie on "sim:0", and compute on the CPU.

They behave as CUDA's do where programs go wrong: they have no `.numpy()`, and do not mix with tensors of the
CPU. What makes the CPU wait for a GPU is counted.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

NAME = "sim"
SETUP = "_setup_privateuseone_for_python_backend"
MISSING = f"torch {torch.__version__} has no devices written in Python ({SETUP})"
AVAILABLE = hasattr(backend_registration, SETUP)

aten = torch.ops.aten
# The result's shape depends on values, or values go to Python: a GPU's queue has to run empty first.
WAITING = {
    aten._local_scalar_dense,
    aten._unique2,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten.unique_consecutive,
    aten.unique_dim,
}
# Their indices may lie on the CPU though what is indexed does not.
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}

_waits: list[Counter] = []


class MixedDevicesError(RuntimeError):
    """An operation was given tensors of the CPU and of the second device."""


class SimTensor(torch.Tensor):
    """A tensor on the second device around one on the CPU, `held`."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "SimTensor":
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, **layout, dtype=held.dtype, device=f"{NAME}:0"
        )

    def __init__(self, held: torch.Tensor):
        self.held = held

    def __repr__(self) -> str:
        return f"SimTensor({self.held!r})"

    def tolist(self) -> list:
        _count("tolist")
        return self.held.tolist()

    def numpy(self, *_: object, **__: object) -> None:
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def __deepcopy__(self, memo: dict) -> torch.Tensor:
        if id(self) not in memo:
            copied = SimTensor(self.held.clone())
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied)
            memo[id(self)] = copied.requires_grad_(self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple:
        return self.held.detach().__reduce_ex__(protocol)  # a file holds the values

    @property
    def data(self) -> torch.Tensor:
        with torch.no_grad():
            return aten.detach.default(self)

    @data.setter
    def data(self, new: torch.Tensor) -> None:
        torch.Tensor.data.__set__(self, new)
        self.held = new.held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


@cache
def install() -> str:
    """Tell torch of the device, once a process; its name is returned."""

    class Backend(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16, torch.float16]

    getattr(backend_registration, SETUP)(NAME, backend_module=Backend())
    library = torch.library.Library("aten", "IMPL")
    for name in ("empty.memory_format", "empty_strided"):
        library.impl(name, _factory(name), "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")  # torch.tensor(..., device=)
    install.library = library  # what it registered lives as long as it does
    return NAME


@contextmanager
def counted_waits() -> Iterator[Counter]:
    """What made the CPU wait for the device inside the block, by the operation's name."""
    _waits.append(Counter())
    try:
        yield _waits[-1]
    finally:
        _waits.pop()


def _count(name: str) -> None:
    for counter in _waits:
        counter[name] += 1


def _factory(name: str):
    packet, _, overload = name.partition(".")
    make = getattr(getattr(aten, packet), overload or "default")

    def empty(*args, device=None, pin_memory=None, **kwargs):
        return SimTensor(make(*args, device="cpu", **kwargs))

    return empty


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    if not isinstance(target, SimTensor):
        _count("copy to the CPU")
    _held(target).copy_(_held(source))
    return target


def _run(function, args: tuple, kwargs: dict):
    if torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd"):
        with torch.overrides.enable_reentrant_dispatch():
            result = function.decompose(*args, **kwargs)  # in inference mode they arrive whole
        if result is not NotImplemented:
            return result
    packet = function.overloadpacket
    values, structure = pytree.tree_flatten((args, kwargs))
    if packet is aten.copy_:
        target, source = args[:2]
        return _copy_from(source, target)
    device = kwargs.get("device")
    stays = device is None or torch.device(device).type == NAME
    if packet is aten._to_copy:
        if not stays:
            _count("copy to the CPU")
    else:
        _refuse_mixture(function, args, values)
    if packet in WAITING or (packet in INDEXING and _has_mask(args[1])):
        _count(packet.__name__)
    args, kwargs = pytree.tree_unflatten([_held(value) for value in values], structure)
    result = function(*args, **kwargs)
    # What an operation changes in place, it returns as it was given.
    given = {id(value.held): value for value in values if isinstance(value, SimTensor)}

    def wrap(value):
        if not isinstance(value, torch.Tensor) or isinstance(value, SimTensor):
            return value
        return given[id(value)] if id(value) in given else SimTensor(value) if stays else value

    return pytree.tree_map(wrap, result)


def _held(value):
    if isinstance(value, SimTensor):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == NAME else value


def _has_mask(indices) -> bool:
    kinds = (torch.bool, torch.uint8)
    return any(isinstance(index, SimTensor) and index.dtype in kinds for index in indices)


def _refuse_mixture(function, args: tuple, values: list) -> None:
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if function.overloadpacket in INDEXING:
        if isinstance(args[0], SimTensor):
            return
    else:
        tensors = [tensor for tensor in tensors if tensor.dim()]  # numbers may lie anywhere
    on_cpu = [tensor for tensor in tensors if not isinstance(tensor, SimTensor)]
    if on_cpu and len(on_cpu) < len(tensors):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in on_cpu)
        raise MixedDevicesError(f"{function}: tensors of the CPU ({shapes}) among those of {NAME}:0")
