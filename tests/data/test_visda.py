"""The VisDA-2020 sets, from miniatures of the challenge's folders."""

import miniature
import pytest

from mmt_plugin.data.items import build_dataset, training_items


@pytest.fixture(autouse=True)
def visda(tmp_path, monkeypatch):
    miniature.write_personx(tmp_path)
    miniature.write_visda20(tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return tmp_path / "visda2020"


def test_personx_has_identities_and_cameras(visda):
    miniature.draw(visda / "personX" / "image_train" / "-1_c1s1_000000.jpg", miniature.Shot(7, 1, 0))
    items = training_items(["PersonX"])
    assert len(items) == 24  # without identity -1
    assert {pid for _, pid, _ in items} == {f"personx_{i}" for i in range(1, 7)}
    assert {camera for *_, camera in items} == {"personx_1", "personx_2"}


def test_translated_sets_keep_the_identities_of_personx(visda):
    (visda / "personX").rename(visda / "personX_sda")
    assert {pid for _, pid, _ in training_items(["PersonXSDA"])} == {f"personx_{i}" for i in range(1, 7)}


def test_target_has_cameras_but_no_identities():
    items = training_items(["VisDA20"])
    assert len(items) == 24
    assert {(pid, camera) for _, pid, camera in items} == {
        ("visda20_0", "visda20_1"),
        ("visda20_0", "visda20_4"),
    }


def test_validation_follows_its_indices(visda):
    index = visda / "index_validation_gallery.txt"
    lines = index.read_text().splitlines()
    index.write_text("\n".join(lines[1:]))  # no line break at the end, and one image fewer
    dataset = build_dataset("VisDA20")
    assert len(dataset.query) == 4
    assert len(dataset.gallery) == len(lines) - 1
    assert {pid for _, pid, _ in dataset.query} == set(miniature.TEST_IDS)
    assert {camera for *_, camera in dataset.query} == {1}


def test_a_name_without_identity_is_named(visda):
    miniature.draw(visda / "personX" / "image_train" / "portrait.jpg", miniature.Shot(7, 1, 0))
    with pytest.raises(ValueError, match=r"portrait\.jpg: the file name does not start with"):
        training_items(["PersonX"])
