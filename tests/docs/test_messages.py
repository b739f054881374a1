"""Every message in docs/messages.md is one that the code can give."""

import ast
import re
from functools import cache

import pytest
from tiny import REPOSITORY

PAGE = REPOSITORY / "docs" / "messages.md"
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)


@cache
def texts_in_code() -> tuple[str, ...]:
    """Every string of the package and tools, adjacent ones joined, "…" for what is filled in."""
    texts = []
    for folder in ("mmt_plugin", "tools"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    texts.append(
                        "".join(p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(re.sub(r"%[sdg]", "…", node.value))
    return tuple(texts)


def test_there_are_messages():
    assert len(MESSAGES) > 30
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_gives_the_message(message):
    pattern = ".*".join(re.escape(part) for part in message.split("…"))
    assert any(re.search(pattern, text, re.DOTALL) for text in texts_in_code()), message


def test_an_invented_message_is_found_out():
    with pytest.raises(AssertionError):
        test_the_code_gives_the_message("checkpoint … has gone on holiday")
