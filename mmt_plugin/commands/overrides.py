"""Configuration keys and values on a command line, wherever they stand among the options."""

import argparse
import difflib
from collections.abc import Sequence

from mmt_plugin.errors import UsageError


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Let a parser take KEY VALUE pairs; they become `arguments.opts`, a list of words."""
    parser.set_defaults(takes_overrides=True, opts=[])
    parser.usage = f"{parser.prog} [options] [KEY VALUE ...]"
    parser.epilog = "KEY VALUE: configuration keys and their values, such as OUTPUT_DIR logs/a SEED 2"


def split_overrides(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell options with their values from keys with theirs.

    A word after a key is its value, also one that begins with "-", unless it is an option of the parser's.

    Returns:
        The options with their values, and KEY VALUE KEY VALUE ...

    Raises:
        UsageError: an unknown option, a key without a value, or a word that is no key where one is expected.
    """
    options = parser._option_string_actions
    rest, overrides = [], []
    left = list(words)
    while left:
        word = left.pop(0)
        name = word.partition("=")[0]
        if word.startswith("-"):
            if name not in options:
                near = difflib.get_close_matches(name, options, n=1)
                raise UsageError(
                    f"there is no option {name}" + (f"; did you mean {near[0]}?" if near else "")
                )
            rest.append(word)
            takes_value = name == word and name in options and options[name].nargs is None
            if takes_value and left:
                rest.append(left.pop(0))
            continue
        if not word.split(".")[0].isupper():
            raise UsageError(
                f"{word!r} stands where a configuration key is expected, such as SOLVER.MAX_EPOCH; keys and "
                "values come in pairs, and a value with spaces or brackets needs quotes"
            )
        if not left or left[0].partition("=")[0] in options:
            raise UsageError(f"the configuration key {word} has no value: write {word} VALUE")
        overrides += [word, left.pop(0)]
    return rest, overrides
