"""Configurations and data sets name the built-in world without importing what draws it."""

import ast
from importlib.util import resolve_name
from pathlib import Path

from tiny import REPOSITORY


def imported_by(module: str) -> set[str]:
    """Modules of the package that a module imports when it is imported, functions' own imports left out."""
    path = REPOSITORY / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            base = (
                resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            )
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith("mmt_plugin.") and exists(name)}


def exists(module: str) -> bool:
    path = REPOSITORY / Path(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def test_what_draws_is_imported_when_something_is_drawn():
    seen, waiting = set(), {"mmt_plugin.config", "mmt_plugin.data", "mmt_plugin.data.preflight"}
    while waiting:
        module = waiting.pop()
        seen.add(module)
        parents = {module.rsplit(".", count)[0] for count in range(1, module.count("."))}
        waiting |= (imported_by(module) | parents) - seen
    assert "mmt_plugin.synthetic.world" in seen
    assert "mmt_plugin.synthetic.render" in imported_by("mmt_plugin.synthetic.contact_sheet")
    drawing = ("render", "sheet", "scene", "pen", "figure")
    assert seen.isdisjoint(f"mmt_plugin.synthetic.{name}" for name in drawing)
