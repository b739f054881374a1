"""DATASETS.OWN: how folders of crops are read, for all of them or for one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from fastreid.config import CfgNode

from .names import FOLDER, GROUPS, is_own


@dataclass(frozen=True)
class Options:
    """The keys of DATASETS.OWN as they hold for one folder: data set."""

    camera_folders: bool = False
    pattern: str = ""
    test_pattern: str = ""
    follow_links: bool = False


KEYS = {field.name.upper(): type(field.default) for field in fields(Options)}


def options_of(name: str, cfg: CfgNode) -> Options:
    """What holds for a data set: DATASETS.OWN, and over it what DATASETS.OWN.SETS says of this one."""
    own = cfg.DATASETS.OWN
    options = Options(**{key.lower(): own[key] for key in KEYS})
    entries = [entry for entry in own.SETS if _is_entry(entry)]
    return replace(options, **{key.lower(): value for each, key, value in entries if each == name})


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, list | tuple) or len(entry) != 3:
        return False
    name, key, value = entry
    return isinstance(name, str) and isinstance(key, str) and type(value) is KEYS.get(key)


def option_rules(cfg: CfgNode, named: set[str] | None = None) -> Iterator[tuple[bool, str]]:
    """Conditions on the values, each with the sentence to say where it does not hold.

    Args:
        cfg: the configuration.
        named: the data sets that entries may be for; None: any, as of a run that is evaluated on others.
    """
    own = cfg.DATASETS.OWN
    well_formed = []
    for entry in own.SETS:
        yield (
            _is_entry(entry),
            f"DATASETS.OWN.SETS has {entry!r}; an entry is ['folder:<path>', KEY, value], where KEY is one "
            f"of {', '.join(KEYS)}, and the value is of its kind",
        )
        if _is_entry(entry):
            well_formed.append(entry)
            yield (
                entry[0].startswith(FOLDER) and (named is None or entry[0] in named),
                f"DATASETS.OWN.SETS has an entry for {entry[0]!r}, which is no folder: data set of this "
                f"configuration; there are {', '.join(sorted(filter(is_own, named or ()))) or 'none'}",
            )
    places = [(f"DATASETS.OWN.{key}", key, own[key]) for key in KEYS]
    places += [(f"DATASETS.OWN.SETS, {name!r}: {key}", key, value) for name, key, value in well_formed]
    for place, key, value in places:
        if key.endswith("PATTERN"):
            yield from _pattern_rules(place, value, needs_id=key == "TEST_PATTERN")
    for name in {entry[0] for entry in well_formed} | {""}:
        entries = {key: value for each, key, value in well_formed if each in ("", name)}
        folders = entries.get("CAMERA_FOLDERS", own.CAMERA_FOLDERS)
        pattern = entries.get("PATTERN", own.PATTERN)
        yield (
            not folders or "camera" not in (_groups(pattern) or ()),
            f"DATASETS.OWN.CAMERA_FOLDERS is True and DATASETS.OWN.PATTERN has a group camera: choose one"
            f"{f' for {name}' if name else ''}",
        )


def _pattern_rules(place: str, pattern: str, needs_id: bool) -> Iterator[tuple[bool, str]]:
    groups = _groups(pattern)
    yield groups is not None, f"{place} is {pattern!r}, which is no regular expression"
    if groups is None:
        return
    yield (
        set(groups) <= set(GROUPS),
        f"{place} is {pattern!r}; the groups it may name are {', '.join(GROUPS)}",
    )
    yield (
        not pattern or needs_id or bool(groups),
        f"{place} is {pattern!r}, which names no group; name one, like (?P<camera>...)",
    )
    yield (
        not needs_id or "id" in groups,
        f"{place} is {pattern!r}; evaluation needs the group (?P<id>...)",
    )


def _groups(pattern: str) -> tuple[str, ...] | None:
    """Names of a regular expression's groups; None if it is no regular expression."""
    try:
        return tuple(re.compile(pattern).groupindex)
    except re.error:
        return None
