"""Several sources at once, and test images among the training images.

From the host's own example of training on many sets: half of its loaders list their images as tuples, half as
lists, which Python does not compare (TypeError). And from a user whose COMBINEALL meant the source, and
trained on the target's query and gallery.
"""

import pytest
from fastreid.data.datasets.bases import ImageDataset

from mmt_plugin.config import ConfigError, check_config
from mmt_plugin.data.items import training_items
from mmt_plugin.errors import DataError, UnknownNameError


def test_lists_and_tuples_go_together(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    files = ["PRAI-1581/images/1_2_a.jpg", "VIPeR/cam_a/7_0.bmp", "VIPeR/cam_b/8_0.bmp"]
    files += [
        f"DukeMTMC-reID/{part}/0002_c1.jpg" for part in ("bounding_box_train", "query", "bounding_box_test")
    ]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    items = training_items(["DukeMTMC", "PRAI", "VIPeR"])
    assert [type(item) for item in items] == [tuple] * 4
    assert [item[1] for item in items] == ["dukemtmc_2", "prai_1", "viper_7", "viper_8"]


def test_combineall_is_refused_for_a_target(tiny_config):
    with pytest.raises(ConfigError, match=r"COMBINEALL is True.*query and gallery images of SynthMetro"):
        check_config(tiny_config(DATASETS__COMBINEALL=True))
    labelled = {"DATASETS__COMBINEALL": True, "PSEUDO_LABELS__METHOD": "ground_truth"}
    with pytest.raises(ConfigError, match=r"query and gallery images of SynthMetro, which DATASETS\.TESTS"):
        check_config(tiny_config("source", **labelled, DATASETS__NAMES=("SynthMetro",)))
    check_config(tiny_config("source", **labelled))


def test_an_unknown_set_is_answered_with_names_like_it():
    with pytest.raises(
        UnknownNameError, match=r"'market1501'.*did you mean Market1501.*folder:<path> or csv:<path>"
    ):
        training_items(["market1501"])


class Lanes(ImageDataset):
    """A user's own."""


def test_cameras_of_query_and_gallery_that_are_text_are_named():
    with pytest.raises(DataError, match=r"Lanes: query and gallery.*'q\.jpg' has 'north'"):
        type("Lanes", (ImageDataset,), {})(
            [("t.jpg", "a", "north")], [("q.jpg", 1, "north")], [("g.jpg", 1, 2)]
        )
