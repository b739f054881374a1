"""No module of the package imports itself by way of others, and rooms that stand alone do."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest
from tiny import REPOSITORY

PACKAGE = REPOSITORY / "mmt_plugin"
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imported_at_once(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that happen when a module is imported: not those of functions and of type checkers."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imported_at_once(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for part in ("body", "orelse", "finalbody"):
                yield from imported_at_once(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from imported_at_once(handler.body)


def graph() -> dict[str, set[str]]:
    """Module -> modules that it names in its imports."""
    found: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        found[module] = names = set()
        package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        for node in imported_at_once(ast.parse(path.read_text()).body):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
                continue
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                names.add(inner if inner in MODULES else base)
        names &= MODULES.keys()
    return found


def test_no_module_imports_itself_by_way_of_others():
    TopologicalSorter(graph()).prepare()  # names the cycle


@pytest.mark.parametrize(
    ("room", "others"),
    [
        ("runs", {"engine", "report", "challenge", "inference", "commands"}),
        ("retrieval", {"config", "data", "engine", "host", "modeling", "runs"}),
        ("pseudo_labels", {"config", "data", "engine", "host", "modeling", "runs", "retrieval"}),
    ],
)
def test_a_room_knows_nothing_of_those_above_it(room, others):
    for module, names in graph().items():
        if module.split(".")[1:2] == [room]:
            assert not others & {name.split(".")[1] for name in names if "." in name}, module
