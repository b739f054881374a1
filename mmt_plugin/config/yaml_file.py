"""A recipe's file, read with its bases; refused where it is none, before anything in it can take long."""

import copy
import os
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from mmt_plugin.errors import ConfigError

BASE = "_BASE_"
# A recipe has 4 kB, and no aliases; each alias may multiply what is built of the file.
MOST_BYTES, MOST_ALIASES = 1 << 18, 20


def read_recipe(path: str | os.PathLike) -> dict[str, Any]:
    """The keys of a file over those of its _BASE_, which is relative to it, as fastreid reads them.

    Raises:
        ConfigError: naming the file: it is missing, no YAML, empty, too large, of other types than a
            recipe's, or its own base.
    """
    return _with_bases(Path(path), ())


def _with_bases(path: Path, readers: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in readers:
        chain = " -> ".join(str(reader) for reader in (*readers, path.resolve()))
        raise ConfigError(f"{path} is its own {BASE}: {chain}; take {BASE} out of one of them")
    keys = read_mapping(path)
    if BASE not in keys:
        return keys
    base = keys.pop(BASE)
    if not isinstance(base, str):
        raise ConfigError(f"{path}: {BASE} is {base!r}; it must be the path of one recipe")
    return _over(keys, _with_bases(path.parent / Path(base).expanduser(), (*readers, path.resolve())), path)


def _over(keys: dict, base: dict, path: Path) -> dict:
    """`base` with `keys` written over it, node by node."""
    for key, value in keys.items():
        if isinstance(value, dict) and key in base:
            if not isinstance(base[key], dict):
                raise ConfigError(
                    f"{path}: {key} is a node of keys, but in its {BASE} a value: {base[key]!r}"
                )
            _over(value, base[key], path)
        else:
            base[key] = value
    return base


def read_mapping(path: str | os.PathLike) -> dict[str, Any]:
    """A YAML file of keys and values. Nothing in it runs, and nothing in it grows.

    Raises:
        ConfigError: naming the file and, where YAML knows it, the line.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"there is no recipe {os.fspath(path)!r} to be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path} is larger than {MOST_BYTES >> 10} kB: that is no recipe")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text file: {error}") from error
    return parse_mapping(text, path)


def parse_mapping(text: str, path: str | os.PathLike) -> dict[str, Any]:
    """The keys and values in a text.

    Args:
        text: YAML.
        path: where it came from.

    Raises:
        ConfigError: naming the file and, where YAML knows it, the line.
    """
    try:
        tree = copy.deepcopy(_parsed(text))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is no recipe: {' '.join(str(error).split())}") from error
    if tree is None:
        raise ConfigError(f"{path} is empty: a recipe has keys, such as _BASE_ and DATASETS")
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}, not keys and values as a recipe does")
    return tree


@lru_cache(maxsize=128)
def _parsed(text: str) -> Any:
    """A text's tree, which is not to be changed: recipes share their bases, and parsing takes longest."""
    return yaml.load(text, _RecipeLoader)


class _RecipeLoader(yaml.SafeLoader):
    """Plain values only; a key stands once; few aliases."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self._aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._aliases += self.check_event(yaml.AliasEvent)
        if self._aliases > MOST_ALIASES:
            raise yaml.YAMLError(f"it has more than {MOST_ALIASES} aliases (*name)")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[Hashable] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.YAMLError(f"the key {name!r} in line {key.start_mark.line + 1} is no name")
            if name in seen:
                raise yaml.YAMLError(f"the key {name} stands twice, again in line {key.start_mark.line + 1}")
            if key.tag != "tag:yaml.org,2002:merge":
                seen.add(name)
        return super().construct_mapping(node, deep)
