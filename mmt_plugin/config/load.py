"""A configuration from a file and the command line."""

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import reduce
from os import PathLike

from fastreid.config import CfgNode, get_cfg

from mmt_plugin.errors import ConfigError

from .defaults import add_mmt_config
from .yaml_file import read_mapping, read_recipe

# What yacs raises for a wrong key or value, and Python for a value that is nested too deep.
MERGING = (KeyError, AssertionError, ValueError, AttributeError, TypeError, RecursionError, MemoryError)

KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number with a point (1.0)",
    str: "a text",
    list: "a list, such as ['a', 'b']",
    tuple: "a tuple, such as ('a', 'b'), or ('a',) with a comma,",
}


def load_config(config_file: str | PathLike, opts: Sequence = ()) -> CfgNode:
    """fastreid's and the plugin's defaults, overridden by a file and then by KEY VALUE pairs.

    Raises:
        ConfigError: a key that does not exist, with the nearest one that does, or a value of the wrong type.
    """
    cfg = get_cfg()
    add_mmt_config(cfg)
    recipe = read_recipe(config_file)
    try:
        cfg.merge_from_other_cfg(CfgNode(recipe))
    except MERGING as error:
        raise ConfigError(f"{config_file}: {_explained(error, cfg)}") from error
    merge_options(cfg, opts)
    return cfg


def written_keys(config_file: str | PathLike, opts: Sequence = ()) -> list[str]:
    """Dotted keys that a file itself, not those it is based on, and KEY VALUE pairs set."""
    return [*_leaves_of(read_mapping(config_file)), *map(str, opts[::2])]


def _leaves_of(tree: dict, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def merge_options(cfg: CfgNode, opts: Sequence, origin: str = "the command line") -> None:
    """Override keys by KEY VALUE pairs.

    Args:
        cfg: is changed.
        opts: KEY VALUE KEY VALUE ...
        origin: of the pairs, for messages.

    Raises:
        ConfigError: no pairs, a key that does not exist, or a value of the wrong type.
    """
    if len(opts) % 2:
        raise ConfigError(f"{origin}: {len(opts)} words are no KEY VALUE pairs; the last is {opts[-1]!r}")
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        try:
            cfg.merge_from_list([key, value])
        except MERGING as error:
            raise ConfigError(f"{origin}, {key} {value}: {_explained(error, cfg, key)}") from error


def _explained(error: Exception, cfg: CfgNode, key: str = "") -> str:
    """What yacs says of a wrong key or value, with the name of the key that was probably meant."""
    message = str(error.args[0]) if error.args else f"{type(error).__name__}"
    mismatch = re.fullmatch(r"Type mismatch .* values \((.*) vs\. (.*)\) for config key: (\S+)", message)
    if mismatch:
        usual, given, name = mismatch.groups()
        kind = type(reduce(CfgNode.__getitem__, name.split("."), cfg))
        wanted = KINDS.get(kind, kind.__name__)
        return f"{name} takes {wanted}, but was given {given or repr('')} in place of {usual or repr('')}"
    node = re.search(r"vs\. ([^\n]*)\) for config key: (\S+)$", message)
    if node and "\n" in message:  # yacs shows the whole node
        example = next(_dotted_keys(reduce(CfgNode.__getitem__, node[2].split("."), cfg)))
        return f"{node[2]} is a node of keys, such as {node[2]}.{example}, but was given the value {node[1]}"
    unknown = re.fullmatch(r"Non-existent (?:config )?key: (\S+)", message)
    if unknown is None:
        return message
    keys = list(_dotted_keys(cfg))
    wanted = key or unknown.group(1)
    # The whole name first, then its last part alone: the right key in the wrong node.
    near = difflib.get_close_matches(wanted, keys, n=1) or [
        key for key in keys if key.split(".")[-1] == wanted.split(".")[-1]
    ]
    hint = f"did you mean {near[0]}?" if near else "there is none of a similar name"
    return f"there is no key {wanted}; {hint}"


def _dotted_keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, CfgNode):
            yield from _dotted_keys(value, f"{prefix}{key}.")
