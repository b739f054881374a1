"""How a repair reaches the host: replace a name everywhere fastreid has copied it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(original)` in the place of `owner.name`.

    fastreid copies names (`from x import y`) almost everywhere, and registries hold functions too. For a name
    of a module every such copy is replaced as well; methods are looked up through their class and need only
    the class changed.

    Args:
        owner: a fastreid module or class.
        name: the attribute to replace.
        make: takes the original, returns its replacement.
    """
    original = getattr(owner, name)
    replacement = make(original)
    setattr(owner, name, replacement)
    if isinstance(owner, ModuleType):
        _rebind(original, replacement)


def _rebind(original: Any, replacement: Any) -> None:
    from fastreid.utils.registry import Registry

    for module in _host_modules():
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, replacement)
            elif isinstance(value, Registry):
                entries = value._obj_map
                entries.update({key: replacement for key, entry in entries.items() if entry is original})


def _host_modules() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "fastreid" and isinstance(module, ModuleType):
            yield module


class Overlay:
    """Answers like `base`, except for the names given: changes what one module sees without changing anybody
    else's.
    """

    def __init__(self, base: Any, **names: Any):
        vars(self).update(names)
        self._base = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)


@contextmanager
def temporarily(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Have `owner.name` be `value` inside the block."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
