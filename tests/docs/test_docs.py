"""The pages name only what is there: commands, options, configuration keys and values, files, links."""

import re
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from tiny import REPOSITORY

from mmt_plugin.commands import VERBS
from mmt_plugin.commands.line import parser_of, script_of
from mmt_plugin.config import check_config, load_config
from mmt_plugin.runs.recipe import flatten

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
KEY = re.compile(r"(?<![\w./-])[A-Z][A-Z0-9_]*(?:\.[A-Z][A-Z0-9_]*)+(?![\w/-])")
REPOSITORY_PATH = re.compile(r"(?<![\w/.-])(?:tools|configs|tests|docs|mmt_plugin)/[\w./-]+")
# A placeholder, not a name.
PLACEHOLDER = re.compile(r"[<>*{}…$]|\.\.\.")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def all_keys() -> frozenset[str]:
    """Every key of fastreid and the plugin, and every node, by dotted name."""
    cfg = load_config(REPOSITORY / "configs" / "Base-network.yml")
    keys = flatten(cfg)
    parts = (key.split(".") for key in keys)
    return frozenset(".".join(names[:end]) for names in parts for end in range(1, len(names) + 1))


def is_key(name: str) -> bool:
    """Whether a key exists, or the end of one, as in a table of the keys of one node."""
    return any(key == name or key.endswith(f".{name}") for key in all_keys())


@cache
def options_of(tool: str) -> frozenset[str]:
    """Options that a tool's parser knows."""
    verb = next((verb for verb in VERBS if f"tools/{script_of(verb)}" == tool), None)
    if verb is None:
        words = re.findall(r"\"(--[a-z][a-z-]*)\"", (REPOSITORY / tool).read_text())
        return frozenset([*words, "--help"])
    return frozenset(parser_of(verb, tool)._option_string_actions)


def code_spans(page: Path) -> list[str]:
    """What stands between backticks in a paragraph, over the ends of lines, too."""
    paragraphs = FENCE.sub("", page.read_text()).split("\n\n")
    return [span.replace("\n", " ") for text in paragraphs for span in CODE_SPAN.findall(text)]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every shell command of a page, and of code spans that call a tool."""
    blocks = [body for language, body in FENCE.findall(page.read_text()) if language in ("sh", "bash", "")]
    lines = [line for body in blocks for line in body.replace("\\\n", " ").splitlines()]
    lines += [span for span in code_spans(page) if re.match(r"(python|torchrun|make) ", span)]
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a picture, not a command
            continue
        for joined, command in groupby(words, key="&&".__eq__):
            if not joined:
                yield list(command)


def test_there_are_pages():
    assert {page.name for page in PAGES} >= {"README.md", "export.md", "mmt_plus.md"}


@pages
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {
                re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
            }
            assert anchor in anchors, f"{page.name} links to {target}"


@pages
def test_files_exist(page):
    for path in REPOSITORY_PATH.findall(page.read_text()):
        named = path.rstrip(".")
        assert (REPOSITORY / named).exists() or list(REPOSITORY.glob(f"{named}*")), f"{page.name}: {path}"


@pages
def test_tools_have_the_options(page):
    for words in commands(page):
        tools = [word for word in words if re.fullmatch(r"tools/\w+\.py", word)]
        for tool in tools:
            given = {word.partition("=")[0] for word in words[words.index(tool) :] if word.startswith("--")}
            assert given <= options_of(tool), f"{page.name}: {shlex.join(words)}"


@pages
def test_make_has_the_targets(page):
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for words in commands(page):
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= set(targets), f"{page.name}: {words}"


@pages
def test_keys_exist(page):
    if page.name == "faults.md":  # wrong keys are among the faults
        return
    for name in KEY.findall(page.read_text()):
        assert is_key(name), f"{page.name}: {name}"


@pages
def test_keys_take_the_values(page):
    """`KEY VALUE` pairs are of the right type, so that they can be pasted."""
    for span in code_spans(page):
        if not KEY.match(span) or PLACEHOLDER.search(span):
            continue
        words = shlex.split(span)
        if len(words) % 2 == 0 and words[0] in all_keys():
            load_config(REPOSITORY / "configs" / "Base-mmt.yml", words)


@pages
def test_training_commands_make_a_configuration(page):
    """A command of train_net.py names a recipe and overrides that go together."""
    for words in commands(page):
        if "tools/train_net.py" not in words or "--config-file" not in words or "--import" in words:
            continue  # what is imported is run by a test of its own
        start = words.index("--config-file")
        config, rest = words[start + 1], words[start + 2 :]
        if PLACEHOLDER.search(config):
            continue
        while rest and rest[0].startswith("--"):
            takes_value = rest[0] not in ("--resume", "--eval-only") and "=" not in rest[0]
            rest = rest[2 if takes_value else 1 :]
        rest = [word for word in rest if not PLACEHOLDER.search(word)]
        cfg = load_config(REPOSITORY / config, rest)
        if cfg.MODEL.META_ARCHITECTURE == "MutualMeanTeaching":
            check_config(cfg)


@pages
def test_python_is_python(page):
    for language, body in FENCE.findall(page.read_text()):
        if language == "python":
            compile(body, page.name, "exec")


def test_links_of_the_long_description_lead_somewhere():
    setup = runpy.run_path(str(REPOSITORY / "setup.py"), run_name="setup")
    readme = (REPOSITORY / "README.md").read_text()
    home = setup["home_of"]("Host = https://h.org/a\nSource = https://e.org/m/\n")
    absolute = setup["description"](readme, home)
    assert "](https://e.org/m/raw/main/docs/report.png)" in absolute
    assert "](https://e.org/m/blob/main/docs/own_data.md)" in absolute
    without = setup["description"](readme, setup["home_of"]("Host = https://h.org/a"))
    for text in (absolute, without):
        assert all(link.startswith("https://") for link in LINK.findall(text))
