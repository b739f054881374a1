"""The recipes that come with the plugin: where they lie, and what each is."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from mmt_plugin.errors import UsageError

PACKAGE = Path(__file__).parent
# In a checkout beside the package, in an installation inside it.
FOLDERS = (PACKAGE.parent / "configs", PACKAGE / "configs")


def recipes_folder() -> Path:
    """configs/ of the checkout, or of the installed package."""
    return next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[-1])


def find_recipe(name: str) -> Path:
    """The file that a name stands for: itself, or one of the plugin's recipes, such as mmt/market2duke.

    Raises:
        UsageError: there is none; the message holds names that are near.
    """
    given, root = Path(name), recipes_folder()
    if given.is_file():
        return given
    parts = given.parts[1:] if given.parts[:1] == ("configs",) else given.parts
    suffixes = ("", ".yml") if parts and not given.is_absolute() else ()
    for suffix in suffixes:
        path = root.joinpath(*parts[:-1], f"{parts[-1]}{suffix}")
        if path.is_file():
            return path
    known = [recipe for recipe, _ in recipes()]
    near = difflib.get_close_matches(f"{'/'.join(parts)}".removesuffix(".yml") + ".yml", known, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "`mmt configs` lists those of the plugin"
    raise UsageError(f"there is no config file {name!r}; {hint}")


def recipes(folder: str = "") -> Iterator[tuple[str, str]]:
    """(name, first sentence of its comment) of every recipe below a folder of configs/.

    Base files and the developers' grids, which are no recipes, are left out.
    """
    root = recipes_folder()
    if not (root / folder).is_dir() or not (root / folder).resolve().is_relative_to(root.resolve()):
        raise UsageError(f"there is no folder {folder!r} of recipes in {root}")
    for path in sorted((root / folder).rglob("*.yml")):
        if not path.name.startswith("Base-") and path.parent.name != "ablation":
            yield str(path.relative_to(root)), summary(path.read_text())


def summary(text: str) -> str:
    """The first sentence of the comment at the head of a recipe."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return re.split(r"(?<=\.)\s", " ".join(lines))[0]
