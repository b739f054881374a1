"""The recipes that come with the plugin: where they lie, and what each is."""

import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent
# In a checkout beside the package, in an installation inside it.
FOLDERS = (PACKAGE.parent / "configs", PACKAGE / "configs")


def recipes_folder() -> Path:
    """configs/ of the checkout, or of the installed package."""
    return next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[-1])


def recipes(folder: str = "") -> Iterator[tuple[str, str]]:
    """(name, first sentence of its comment) of every recipe below a folder of configs/.

    Base files and the developers' grids, which are no recipes, are left out.
    """
    root = recipes_folder()
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
