"""Registries: a name that is not there is answered with those that are."""

import difflib
from functools import wraps
from typing import Any

from fastreid.utils.registry import Registry

from . import parts
from .patching import replace

# Which keys of a configuration name what a registry holds.
_KEYS = {
    "DATASET": "DATASETS.NAMES, TARGETS and TESTS name data sets; own images are folder:<path> or csv:<path>",
    "BACKBONE": "MODEL.BACKBONE.NAME names a backbone",
    "HEADS": "MODEL.HEADS.NAME names heads",
    "META_ARCH": "MODEL.META_ARCHITECTURE names an architecture",
}


def name_what_is_registered() -> None:
    """Without it a misspelt data set, backbone or architecture is a KeyError that names no key and no other
    name.
    """
    replace(Registry, "get", _with_suggestions)


def _with_suggestions(get):
    @wraps(get)
    def checked(self, name: str) -> Any:
        if name not in self._obj_map:
            raise parts.given.UnknownNameError(_unknown(self, name))
        return get(self, name)

    return checked


def _unknown(registry: Registry, name: str) -> str:
    known = sorted(registry._obj_map)
    near = difflib.get_close_matches(str(name), known, n=3)
    kind = registry._name.lower().replace("_", " ")
    suggestion = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known)}"
    key = _KEYS.get(registry._name, "")
    return f"no {kind} {name!r} is registered: {suggestion}{f' ({key})' if key else ''}"


REPAIRS = (name_what_is_registered,)
