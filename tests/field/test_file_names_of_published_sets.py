"""Own data in a published set's folders and file names: every digit counts, what cannot be read is named.

From users who put their own cameras into DukeMTMC-reID's or Market-1501's layout: `c11` and `c15` were
read as camera 1, identity 1502 was an AssertionError without a word, and so was an empty last line of a
list of MSMT17's.
"""

import logging

import miniature
import pytest

from mmt_plugin.data.items import build_dataset, training_items
from mmt_plugin.errors import DataError

FOLDERS = {
    "Market1501": ("Market-1501-v15.09.15", "bounding_box_train", "query", "bounding_box_test"),
    "DukeMTMC": ("DukeMTMC-reID", "bounding_box_train", "query", "bounding_box_test"),
    "VeRi": ("veri", "image_train", "image_query", "image_test"),
}


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """A function: data set and file names -> it, with these in each of its three folders."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))

    def write(dataset: str, *names: str):
        folder, *parts = FOLDERS[dataset]
        for part in parts:
            (tmp_path / folder / part).mkdir(parents=True, exist_ok=True)
            for name in names:
                (tmp_path / folder / part / name).touch()
        return build_dataset(dataset)

    return write


@pytest.mark.parametrize("name", FOLDERS)
def test_cameras_and_identities_are_read_to_the_last_digit(layout, name):
    found = layout(
        name, "0007_c1s1_000001_00.jpg", "9999_c11_f1.jpg", "0012345_c015_00000001_0.jpg", "-1_c011_1.jpg"
    )
    assert [item[1:] for item in found.gallery] == [(7, 0), (12345, 14), (9999, 10)]
    prefix = type(found).dataset_name
    assert {item[2] for item in found.train} == {f"{prefix}_{camera}" for camera in (0, 10, 14)}


@pytest.mark.parametrize("file_name", ["2024-01_c3.jpg", "0007_cam3.jpg", "anna_c1.jpg", "0007c1.jpg"])
@pytest.mark.parametrize("name", ["Market1501", "VeRi"])
def test_a_name_that_tells_less_is_named(layout, name, file_name):
    with pytest.raises(DataError, match=f"{file_name}: the file name lacks <identity>_c<camera>"):
        _ = layout(name, file_name).query


def test_images_of_other_endings_are_told(layout, caplog):
    logging.getLogger("fastreid").propagate = True
    layout("DukeMTMC", "0007_c1.png", "0008_c1.JPG", "Thumbs.db")
    assert "passed over 2 images whose names do not end in .jpg, such as" in caplog.text
    with pytest.raises(RuntimeError, match="no training images in DukeMTMC"):
        training_items(["DukeMTMC"])


def test_a_folder_of_any_name(tmp_path, monkeypatch):
    root = tmp_path / "sets [1] *"
    miniature.write_market(root)
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    assert len(training_items(["Market1501"])) == 24


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [
        ("MSMT17", "MSMT17_V1/list_train.txt", "0001/0001_000.jpg 1"),
        ("MSMT17", "MSMT17_V1/list_query.txt", "0001_000_01_x.jpg"),
        ("VehicleID", "vehicleid/train_test_split/train_list.txt", "image seven"),
        ("VeRiWild", "VERI-Wild/train_test_split/test_10000.txt", "00101/999999.jpg"),
        ("VeRiWild", "VERI-Wild/train_test_split/vehicle_info.txt", "00101"),
    ],
)
def test_lists_may_have_empty_lines_and_no_others(tmp_path, monkeypatch, name, file, line):
    miniature.WRITERS[name](tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    expected = build_dataset(name)
    path = tmp_path / file
    text = path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + f"\n{text}\r\n   \n\n".encode())
    found = build_dataset(name)
    for part in ("train", "query", "gallery"):
        assert getattr(found, part) == getattr(expected, part)
    path.write_text(f"{text}{line}\n")
    with pytest.raises(DataError, match=f"{name} cannot make sense of '{line}"):
        build_dataset(name)


def test_msmt17_trains_on_both_of_its_lists_as_published(tmp_path, monkeypatch):
    miniature.write_msmt17(tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    host, published = build_dataset("MSMT17"), build_dataset("MSMT17TrainVal")
    assert (len(host.train), len(published.train)) == (23, 24)
    assert set(host.train) < set(published.train)
    assert published.train == published.data == sorted(published.train)
    assert {item[1] for item in host.train} == {item[1] for item in published.train}
    assert (host.query, host.gallery) == (published.query, published.gallery)
    assert len(build_dataset("MSMT17TrainVal", combineall=True).train) == 24 + 4 + 12
