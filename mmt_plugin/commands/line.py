"""From the words of a command line to an exit status, the same way for every verb.

The exit status is 0; 2 for a mistake of the user's, which is printed as ``error: ...``; 128 plus the signal's
number for a run that was asked to stop. Whatever else is raised is a fault of the program's, shown with its
traceback.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType

from mmt_plugin.commands import VERBS
from mmt_plugin.commands.environment import prepare_threads
from mmt_plugin.commands.overrides import split_overrides
from mmt_plugin.commands.user_modules import import_module_or_file
from mmt_plugin.errors import UsageError, UserError
from mmt_plugin.recipes import find_recipe
from mmt_plugin.version import __version__

MISTAKE = 2
INTERRUPTED = 130
# OSError: a file that is missing or not allowed, a full disk. ImportError: a package that is not installed.
EXPLAINED = (UserError, OSError, ImportError)
SCRIPT = re.compile(r"python tools/(\w+)\.py")
SCRIPTS = {"train": "train_net.py"}


def main(words: Sequence[str] | None = None) -> int:
    """`mmt VERB ...`, also as `python -m mmt_plugin VERB ...`.

    Args:
        words: what follows the program's name; by default those of this process.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if words is None else words)
    if words and words[0] in VERBS:
        return call(words[0], words[1:], f"mmt {words[0]}")
    parser = argparse.ArgumentParser(
        "mmt", description=overview(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("verb", choices=VERBS, metavar="VERB")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="see: mmt VERB --help")
    if not words:
        parser.print_help(sys.stderr)
        return MISTAKE
    parser.parse_args(words)  # help, the version, or an error: a verb was met above
    return MISTAKE


def tool(verb: str) -> int:
    """`python tools/<verb>.py ...`; returns the exit status."""
    return call(verb, sys.argv[1:], script_of(verb))


def script_of(verb: str) -> str:
    """The file in tools/ of a verb."""
    return SCRIPTS.get(verb, f"{VERBS[verb]}.py")


def overview() -> str:
    """One line a verb."""
    lines = (f"    {verb:<16}{summary(module_of(verb))}" for verb in VERBS)
    return "\n".join(["Unsupervised domain adaptation for re-identification.", "", *lines])


def summary(module: ModuleType) -> str:
    """The first clause of a module's docstring."""
    return re.split(r"[,;:.](?:\s|$)", " ".join(module.__doc__.split()), maxsplit=1)[0]


def module_of(verb: str) -> ModuleType:
    return importlib.import_module(f"mmt_plugin.commands.{VERBS[verb]}")


def parser_of(verb: str, program: str) -> argparse.ArgumentParser:
    """A verb's arguments, and those that all have."""
    module = module_of(verb)
    text = module.__doc__
    if program.startswith("mmt"):
        verbs = {script_of(verb): verb for verb in VERBS}
        text = SCRIPT.sub(lambda match: f"mmt {verbs.get(f'{match[1]}.py', match[1])}", text)
    parser = argparse.ArgumentParser(
        program, description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    module.add_arguments(parser)
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module or a .py file of yours that registers parts; may be given several times",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
    return parser


def call(verb: str, words: Sequence[str], program: str) -> int:
    """One verb with its words; returns the exit status."""
    parser = parser_of(verb, program)
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal's code lacks is told all the same
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        arguments = parse(parser, words)
        if getattr(arguments, "config_file", None) is not None:
            arguments.config_file = str(find_recipe(arguments.config_file))
        prepare_threads(os.environ, getattr(arguments, "num_gpus", 1))
        for name in arguments.imports:
            import_module_or_file(name)
        return module_of(verb).run(arguments) or 0
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EXPLAINED as error:
        if "--debug" in words or not is_explained(error):
            raise
        if isinstance(error, UsageError):
            parser.print_usage(sys.stderr)
        tell(error)
        return MISTAKE
    except Exception as error:
        # torch's, for a rank that has told its mistake and ended.
        if type(error).__name__ == "ProcessExitedException" and error.exit_code == MISTAKE:
            return MISTAKE
        raise
    except KeyboardInterrupt as stop:
        status = getattr(stop, "exit_status", None)
        print("interrupted" if status is None else f"{stop}; continue with --resume", file=sys.stderr)
        return status or INTERRUPTED


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments; configuration keys and values, where a verb takes them, stand anywhere among them."""
    if not parser.get_default("takes_overrides"):
        refuse_empty(words[: words.index("--opts")] if "--opts" in words else words)
        return parser.parse_args(words)
    rest, overrides = split_overrides(parser, words)
    refuse_empty(rest)
    arguments = parser.parse_args(rest)
    arguments.opts = overrides
    return arguments


def refuse_empty(words: Sequence[str]) -> None:
    """Refuse options and names that are empty, as a variable of the shell is that was never set.

    Raises:
        UsageError: saying where.
    """
    for position, word in enumerate(words):
        if not word or (word.startswith("--") and word.endswith("=")):
            where = word or (f"behind {words[position - 1]}" if position else "in front")
            raise UsageError(f"there is an empty word, {where}: is a variable of the shell not set?")


def is_explained(error: BaseException) -> bool:
    """Whether the message alone says enough: an ImportError does where a package is missing, not where code
    asks a module for a name that it lacks.
    """
    if not isinstance(error, ImportError):
        return True
    return isinstance(error, ModuleNotFoundError) or "pip install" in str(error)


def tell(error: BaseException) -> None:
    print(f"error: {sentence(error)}", file=sys.stderr, flush=True)


def sentence(error: BaseException) -> str:
    """A message without the number of the operating system's error."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fspath(error.filename)!r}: {error.strerror}"
    return str(error)
