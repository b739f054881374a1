"""The tables "paper / published code / here" of docs/methods.md: defaults and recipes are as they say."""

import re
from ast import literal_eval
from functools import cache

import pytest
from fastreid.config import get_cfg
from tiny import REPOSITORY

from mmt_plugin.config import add_mmt_config, load_config
from mmt_plugin.runs.recipe import flatten

SECTION = (REPOSITORY / "docs" / "methods.md").read_text().split("## Paper and code")[1].split("\n## ")[0]
ROWS = [re.split(r" \| ", line.strip("| ")) for line in SECTION.splitlines() if line.startswith("| ")]
CHOICES = [(row[0], row[3]) for row in ROWS if row[0] != "topic"]
WORDS = {"on": True, "off": False, "empty": ""}


def value_of(word: str) -> object:
    """What a cell says in words or in code: on, 0.1, `padded`, `[30, 60]`."""
    word = word.strip(" `")
    try:
        return WORDS[word] if word in WORDS else literal_eval(word)
    except (ValueError, SyntaxError):
        return word


@cache
def keys_of(recipe: str) -> dict:
    cfg = get_cfg()
    add_mmt_config(cfg)
    return flatten(load_config(REPOSITORY / recipe) if recipe else cfg)


def has(recipe: str, key: str, said: object) -> bool:
    found = keys_of(recipe)[key]
    return list(found) == list(said) if isinstance(found, list | tuple) else found == said


def test_every_row_has_four_columns():
    assert all(len(row) == 4 for row in ROWS)
    assert len(CHOICES) > 40


@pytest.mark.parametrize(("topic", "here"), CHOICES, ids=[topic for topic, _ in CHOICES])
def test_a_choice_is_switched_as_the_table_says(topic, here):
    if here.endswith("no key"):
        return
    first, *others = here.split("; ")
    key, default = re.match(r"`([A-Z0-9_.]+)`, (`[^`]+`|[\w.]+)", first).groups()
    assert has("", key, value_of(default)), f"default of {key}"
    recipes = [re.match(r"(.+?) in `(configs/[\w/.-]+)`", other) for other in others]
    for value, recipe in (found.groups() for found in recipes if found):
        assert has(recipe, key, value_of(value)), f"{key} in {recipe}"
