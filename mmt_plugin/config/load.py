"""A configuration from a file and the command line."""

import difflib
import re
from collections.abc import Iterator, Sequence
from os import PathLike

import yaml
from fastreid.config import CfgNode, get_cfg

from .defaults import add_mmt_config
from .errors import ConfigError


def load_config(config_file: str | PathLike, opts: Sequence = ()) -> CfgNode:
    """fastreid's and the plugin's defaults, overridden by a file and then by KEY VALUE pairs.

    Raises:
        ConfigError: a key that does not exist, with the nearest one that does, or a value of the wrong type.
    """
    cfg = get_cfg()
    add_mmt_config(cfg)
    try:
        cfg.merge_from_file(str(config_file))
        cfg.merge_from_list(list(opts))
    except (KeyError, AssertionError, ValueError) as error:
        raise ConfigError(_explain(str(error.args[0]), cfg, config_file)) from error
    return cfg


def written_keys(config_file: str | PathLike, opts: Sequence = ()) -> list[str]:
    """Dotted keys that a file itself, not those it is based on, and KEY VALUE pairs set."""
    with open(config_file, encoding="utf-8") as file:
        own = yaml.safe_load(file) or {}
    return [*_leaves_of(own), *map(str, opts[::2])]


def _leaves_of(tree: dict, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _explain(message: str, cfg: CfgNode, config_file: str | PathLike) -> str:
    """What yacs says of a wrong key or value, with the name of the key that was probably meant."""
    unknown = re.fullmatch(r"Non-existent (?:config )?key: (\S+)", message)
    if unknown is None:
        return f"{config_file}, or the command line: {message}"
    keys = list(_dotted_keys(cfg))
    wanted = unknown.group(1)
    # The whole name first, then its last part alone: the right key in the wrong node.
    near = difflib.get_close_matches(wanted, keys, n=1) or [
        key for key in keys if key.split(".")[-1] == wanted.split(".")[-1]
    ]
    hint = f"did you mean {near[0]}?" if near else "there is none of a similar name"
    return f"{config_file}, or the command line: there is no key {wanted}; {hint}"


def _dotted_keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, CfgNode):
            yield from _dotted_keys(value, f"{prefix}{key}.")
