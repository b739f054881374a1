"""docs/own_data.md: every key, scalar and command in it exists."""

import re
import shlex

import numpy as np
import pytest
from tiny import REPOSITORY

from mmt_plugin.config import check_config, load_config
from mmt_plugin.pseudo_labels import PseudoLabels, label_free_quality

TEXT = (REPOSITORY / "docs" / "own_data.md").read_text()
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("python ")
]


def test_every_key_exists():
    cfg = load_config(REPOSITORY / "configs" / "own" / "folder.yml")
    keys = set(re.findall(r"\b[A-Z_]+(?:\.[A-Z0-9_]+)+\b", TEXT))
    assert len(keys) > 10
    for key in keys:
        node = cfg
        for part in key.split("."):
            assert part in node, key
            node = node[part]


def test_every_measure_is_one():
    features = np.eye(6, dtype=np.float32)
    labels = PseudoLabels.from_features(np.arange(6) // 3, features)
    numbers = np.arange(6)
    known = {"cameras": numbers, "poses": numbers, "together": (numbers, np.array([[0, 1]]))}
    networks = np.stack([features, features])
    quality = label_free_quality(labels, features, networks, previous=labels, **known)
    assert set(re.findall(r"label_free/(\w+)", TEXT)) == set(quality)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words)[:60])
def test_every_command_can_be_given(command):
    _, tool, *arguments = command
    assert (REPOSITORY / tool).is_file()
    if "--config-file" in arguments and "--target" not in arguments:
        file = arguments[arguments.index("--config-file") + 1]
        words = [word for word in arguments if not word.startswith("--")][1:]
        check_config(load_config(REPOSITORY / file, words))


def test_every_override_of_the_table_is_one():
    cells = re.findall(r"`([A-Z_]+(?:\.[A-Z_]+)+ [^`]+)`", TEXT)
    assert len(cells) > 6
    for cell in cells:
        words = shlex.split(cell, posix=True) if '"' in cell else cell.split()
        load_config(REPOSITORY / "configs" / "own" / "folder.yml", words)
