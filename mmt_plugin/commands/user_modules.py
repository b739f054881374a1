"""Modules and files of the user's that register parts: backbones, meta-architectures, data sets, losses.

They are imported because the command line says so, never because a file does.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

from mmt_plugin.errors import UsageError


def import_module_or_file(name: str) -> None:
    """Import a module by its dotted name, which may lie in the current folder, or a file that ends in .py.

    The modules that it imports beside itself are found, also by processes that are started later.

    Raises:
        UsageError: there is none, or it cannot be imported.
    """
    if not name:
        raise UsageError("--import is followed by nothing: name a module or a .py file")
    is_file = name.endswith(".py")
    if is_file and not Path(name).is_file():
        raise UsageError(f"--import {name}: there is no such file")
    folder = str(Path(name).resolve().parent if is_file else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        if is_file:
            _import_file(Path(name).resolve())
        else:
            module = importlib.import_module(name)
            if getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
                raise UsageError(f"--import {name}: this is a folder without code; name a .py file in it")
    except UsageError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise UsageError(f"--import {name}: {_described(error, name)}") from error


def _import_file(path: Path) -> None:
    """Under the name of its file, so that another process finds it."""
    known = sys.modules.get(path.stem)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path:
            return
        raise UsageError(
            f"--import {path}: a module of the name {path.stem!r} is loaded already: rename the file"
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise


def _described(error: Exception, name: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == name.split(".")[0]:
        return f"there is no module {error.name!r}; a file is named with its .py"
    return f"{type(error).__name__}: {error}"
