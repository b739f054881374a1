"""Draw docs/keys.md: every configuration key of the plugin, its default, its meaning, and who sets it.

    python tools/site/keys.py

Names and defaults are those of the config itself, meanings the comments of mmt_plugin/config/defaults.py.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "keys.md"
DEFAULTS = REPOSITORY / "mmt_plugin" / "config" / "defaults.py"
# A recipe or two say more than all of them.
SHOWN = 3

HEAD = """# Configuration keys

Every key that the plugin adds to fastreid's, as `mmt_plugin/config/defaults.py` has them. Set a key in a YAML
file, or behind the options of a command:

    python tools/train_net.py --config-file FILE MMT.NUM_PAIRS 1

This page is drawn by `python tools/site/keys.py`.
"""


def meanings() -> dict[str, list[tuple[str, str]]]:
    """(key, comment) by section, in the order of the file; a key without a comment has its predecessor's."""
    sections: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    aliases, comment, meaning = {"_C": ""}, [], ""
    for line in DEFAULTS.read_text().splitlines():
        text = line.strip()
        if line.startswith("def _"):
            current = []
        elif text.startswith('"""') and line.startswith("    ") and not current:
            sections[text.strip('".')] = current
        elif text.startswith("#"):
            comment.append(text.lstrip("# "))
        elif found := re.match(r"(?:(\w+) = )?(\w+)\.([A-Z][\w.]*) = (.*)", text):
            alias, owner, name, value = found.groups()
            key = f"{aliases[owner]}.{name}".strip(".")
            if alias:
                aliases[alias] = key
            meaning = " ".join(comment) or meaning
            if "CfgNode()" in value:
                meaning = " ".join(comment)  # of the node: its keys may have none of their own
            elif inner := re.findall(r'"([A-Z_]+)":', value):
                current += [(f"{key}.{part}", meaning) for part in inner]
            else:
                current.append((key, meaning))
            comment = []
        elif text:
            comment = []
    return sections


def set_by() -> dict[str, list[str]]:
    """The recipes that set a key themselves, by key."""
    found = defaultdict(list)
    for path in sorted((REPOSITORY / "configs").rglob("*.yml")):
        if "ablation" in path.parts:
            continue
        tree = yaml.safe_load(path.read_text()) or {}
        for key in _flat(tree):
            found[key].append(str(path.relative_to(REPOSITORY / "configs")))
    return found


def _flat(tree: dict, prefix: str = "") -> list[str]:
    keys = []
    for key, value in tree.items():
        keys += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return keys


def draw() -> str:
    """The page."""
    from fastreid.config import get_cfg

    from mmt_plugin.config import add_mmt_config
    from mmt_plugin.runs.recipe import flatten

    cfg = get_cfg()
    add_mmt_config(cfg)
    values, recipes, lines = flatten(cfg), set_by(), [HEAD]
    for section, keys in meanings().items():
        if not keys:
            continue
        lines += [f"## {section}", "", "| key | default | meaning | set by |", "|---|---|---|---|"]
        for key, meaning in keys:
            named = recipes.get(key, [])
            told = ", ".join(f"`{name}`" for name in named[:SHOWN])
            if len(named) > SHOWN:
                told += f" and {len(named) - SHOWN} more"
            lines.append(f"| `{key}` | `{values[key]!r}` | {_cell(meaning)} | {told} |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    import mmt_plugin  # noqa: F401  (first: it makes fastreid importable)

    PAGE.write_text(draw())
    print(f"written: {PAGE}")
