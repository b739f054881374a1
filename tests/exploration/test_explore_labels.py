"""mmt explore-labels on a network that has learnt nothing: what it says, writes and recommends."""

import re
import shlex

import numpy as np
import pytest
import torch
from tiny import TINY, as_options

from mmt_plugin.config import check_config, load_config
from mmt_plugin.data.items import training_items
from mmt_plugin.exploration.advice import doubts
from mmt_plugin.exploration.grid import Known, Setting, Tried, explore, settings_of
from mmt_plugin.exploration.views import Views
from mmt_plugin.modeling.network import build_network
from mmt_plugin.recipes import find_recipe


def views_of(centres: np.ndarray, each: int, noise: float) -> Views:
    """Two networks' features of `each` images around each centre, and layouts that are noise."""
    draw = np.random.default_rng(0)

    def features() -> np.ndarray:
        rows = np.repeat(centres, each, axis=0) + noise * draw.standard_normal((each * len(centres), 16))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    copies = {"mirrored": features(), "cropped": features()}
    return Views([features(), features()], copies, draw.random((each * len(centres), 8), np.float32))


def test_the_recommended_setting_finds_identities_and_measures_tell_what_is_known():
    centres = np.random.default_rng(1).standard_normal((9, 16))
    truth, tracklets = np.repeat(np.arange(9), 8), np.arange(72) // 4
    exclusive = np.array([[0, 1], [0, 2]])  # the first pair is of one identity
    known = Known(truth, np.arange(72) % 2, tracklets, exclusive)
    tried = explore(views_of(centres, 8, 0.3), known, Setting(0.6, 20, 4))
    best = tried[0].measures
    assert best["ARI"] == max(each.measures["ARI"] for each in tried)
    assert best["clusters"] == 9
    assert (best["split_tracklets"], best["joined_exclusive"]) == (0, 1)
    assert best["follows_cameras"] < 0.1
    assert best["steady_networks"] > 0.9
    assert any("seen together" in sentence for sentence in doubts(tried[0]))
    assert Setting(0.6, 20, 4) in [each.setting for each in tried]


def test_widths_fit_the_number_of_images():
    assert {setting.k1 for setting in settings_of(40, Setting(0.6, 6, 4))} == {6, 10}


@pytest.mark.parametrize(
    ("measures", "sentence"),
    [
        ({"clusters": 1}, "no images apart"),
        ({"largest": 0.5}, "holds 50%"),
        ({"clustered": 0.2}, "Only 20% of the images"),
        ({"steady_eps": 0.3}, "confirm its own mistakes"),
        ({"follows_cameras": 0.9}, "follow cameras"),
        ({"copies_kept": 0.5}, "Only 50% of the mirrored"),
    ],
)
def test_doubts_are_said(measures, sentence):
    fine = {"clusters": 9, "largest": 0.05, "clustered": 0.9, "steady_eps": 0.9, "steady_copies": 0.9}
    setting = Setting(0.5, 10, 4)
    assert not list(doubts(Tried(setting, np.zeros(3, int), fine)))
    (said,) = doubts(Tried(setting, np.zeros(3, int), {**fine, **measures}))
    assert sentence in said


def test_the_command_writes_a_page_and_tells_what_to_train(command, tiny_config, tmp_path):
    options = as_options({k: v for k, v in TINY.items() if k.startswith(("MODEL", "DATALOADER"))})
    options += ["INPUT.SIZE_TEST", "[64, 32]", "INPUT.SIZE_TRAIN", "[64, 32]"]
    options += ["MODEL.BACKBONE.PRETRAIN", "False"]
    network = build_network(load_config(find_recipe("own/folder_no_source"), options))
    torch.save({"model": network.state_dict()}, tmp_path / "weights.pth")
    crops = tmp_path / "crops"
    crops.mkdir()
    for number, (path, *_) in enumerate(training_items(tiny_config().DATASETS.TARGETS)):
        (crops / f"{number}.jpg").symlink_to(path)
    page = tmp_path / "page.html"
    ended = command(
        *("explore-labels", tmp_path / "weights.pth", "--config-file", "own/folder_no_source"),
        *("--target", f"folder:{crops}", "--output", page, "--opts", *options),
    )
    assert ended.status == 0, ended.err
    text = page.read_text()
    assert "What to do next" in text
    assert text.count("data:image/jpeg") > 10
    assert not re.search(r"(src|href)=\"(http|/|file)", text)
    words = shlex.split(ended.out.strip().splitlines()[-1])
    assert words[:3] == ["mmt", "train", "--config-file"]
    advised = load_config(words[3], words[4:])
    check_config(advised)
    assert (f"folder:{crops}",) == advised.DATASETS.TARGETS
    assert (str(tmp_path / "weights.pth"),) == advised.MMT.WEIGHTS
    assert f"EPS {advised.PSEUDO_LABELS.DBSCAN.EPS:g}" in ended.out
