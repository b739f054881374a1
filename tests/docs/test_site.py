"""The site is built without a warning, and its generated page is that of today's keys."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from tiny import REPOSITORY

SPECIFICATION = importlib.util.spec_from_file_location("keys", REPOSITORY / "tools" / "site" / "keys.py")
keys = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(keys)


def test_the_page_of_keys_is_that_of_the_config():
    assert keys.draw() == keys.PAGE.read_text(), "draw it anew: python tools/site/keys.py"


def test_every_key_has_a_meaning():
    lines = [line for line in keys.draw().splitlines() if line.startswith("| `")]
    assert len(lines) > 100
    assert [line for line in lines if not line.split(" | ")[2].strip()] == []


def test_links_and_anchors_of_the_site(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "mutual mean" in (tmp_path / "index.html").read_text().lower()


def test_the_readme_is_short():
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= 130
    prose = re.sub(r"```.*?```|^\|.*$|\]\([^)]*\)|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    crowded = [
        sentence
        for sentence in re.split(r"(?<=[.;:])\s", prose)
        if len(re.findall(r"\d[\d.,]*", sentence)) > 2
    ]
    assert crowded == []
