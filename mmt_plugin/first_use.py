"""The host is repaired, and the plugin's parts are registered, when either is first needed.

That takes seconds. `import mmt_plugin` alone takes none, and what needs no host (help on the command line,
label generation) never waits for it; yet whoever imports mmt_plugin and then fastreid finds it repaired.
"""

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PLUGIN, HOST = "mmt_plugin", "fastreid"
# What can be imported without the host, as can the packages it lies in. Of the room `host` what comes before
# the first repair: a spawned process may begin with the module of a repair, that of its loader's class.
WITHOUT_HOST = (
    "__main__",
    "commands",
    "errors",
    "host.imports",
    "host.parts",
    "host.host_version",
    "pseudo_labels",
    "recipes",
    "retrieval",
    "system.compilation",
    "version",
)


class BeforeFirstUse(MetaPathFinder):
    """Makes everything ready before the first module is imported that needs it."""

    def __init__(self, make_ready: Callable[[], None]):
        self._make_ready = make_ready
        self._lock = threading.RLock()
        self._is_done = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None):
        if self._is_done or not needs_host(name):
            return None
        self.finish()
        # What was asked for may have been imported on the way; it must not be imported twice.
        return _keeping(sys.modules[name]) if name in sys.modules else None

    def finish(self) -> None:
        """Make everything ready, once."""
        with self._lock:
            if self._is_done:
                return
            self._is_done = True
            sys.meta_path.remove(self)
            self._make_ready()


def _keeping(module: ModuleType) -> ModuleSpec:
    """What makes Python's import take a module that is loaded already."""
    spec = ModuleSpec(module.__name__, _Keep(module))
    module.__spec__ = spec  # Python follows this one, not the one that is returned
    return spec


class _Keep(Loader):
    """Loads a module by leaving it as it is."""

    def __init__(self, module: ModuleType):
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def needs_host(name: str) -> bool:
    """Whether a module, by its dotted name, is the host's or stands on it."""
    package, _, module = name.partition(".")
    if package != PLUGIN or not module:
        return package == HOST
    return not any(
        f"{room}.".startswith(f"{module}.") or module.startswith(f"{room}.") for room in WITHOUT_HOST
    )


def make_ready() -> None:
    """Repair the host, and register networks, data sets and samplers in it."""
    from . import host
    from .host_parts import PARTS

    host.repair(PARTS)
    for name in ("data", "modeling", "sda"):
        importlib.import_module(f"{PLUGIN}.{name}")


def prepare() -> None:
    """Make ready at the first use; at once where the host has been imported already."""
    finder = BeforeFirstUse(make_ready)
    sys.meta_path.insert(0, finder)
    if HOST in sys.modules:
        finder.finish()
