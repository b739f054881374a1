"""Own folders and lists of crops: what is read, and what is refused with which sentence."""

import logging
import os

import numpy as np
import pytest
from fastreid.data.build import build_reid_test_loader

from mmt_plugin import data
from mmt_plugin.config import ConfigError, check_config
from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.data.datasets.own.folder import images_below
from mmt_plugin.data.items import build_dataset, exclusive_tracklets, training_items, training_tracklets
from mmt_plugin.data.preflight import check_cameras, check_test_sets


@pytest.fixture
def write(tmp_path):
    """A function that makes files of some bytes below a folder, and returns the folder."""

    def make(*names: str, below: str = "crops"):
        for name in names:
            path = tmp_path / below / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"picture")
        return tmp_path / below

    return make


@pytest.fixture
def table(tmp_path):
    """A function that writes a CSV file, and returns the name of its data set."""

    def make(text: str, encoding: str = "utf-8") -> str:
        (tmp_path / "list.csv").write_bytes(text.encode(encoding))
        return f"csv:{tmp_path / 'list.csv'}"

    return make


@pytest.fixture
def configured(tiny_config):
    """A function: target name and overrides -> a config whose own data sets are registered."""

    def make(target, **overrides):
        cfg = tiny_config(DATASETS__TARGETS=(str(target),), DATASETS__TESTS=(), **overrides)
        check_config(cfg)
        data.configure(cfg)
        return cfg

    return make


def train_of(cfg):
    """Training items, without the data set's name before identity and camera."""
    name = cfg.DATASETS.TARGETS[0]
    return [
        (os.path.basename(path), pid.removeprefix(f"{name}/"), camera.removeprefix(f"{name}/"))
        for path, pid, camera in training_items(cfg.DATASETS.TARGETS)
    ]


def test_a_folder_of_pictures_and_nothing_else(configured, write):
    folder = write("a.jpg", "Größe 数据.PNG", "deep/er/c.JPEG")
    cfg = configured(f"folder:{folder}")
    assert train_of(cfg) == [
        ("Größe 数据.PNG", "None", "None"),
        ("a.jpg", "None", "None"),
        ("c.JPEG", "None", "None"),
    ]
    dataset = build_dataset(cfg.DATASETS.TARGETS[0])
    assert (dataset.query, dataset.gallery, dataset.tracklets) == ([], [], {})


def test_relative_names_lie_below_the_dataset_root(configured, write, tmp_path, monkeypatch):
    write("a.jpg", below="root/my crops")
    cfg = configured("folder:my crops")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "root"))
    assert training_items(cfg.DATASETS.TARGETS)[0][0] == str(tmp_path / "root" / "my crops" / "a.jpg")


def test_cameras_from_sub_folders(configured, write):
    folder = write("north gate/1.jpg", "south/monday/2.jpg")
    cfg = configured(f"folder:{folder}", DATASETS__OWN__CAMERA_FOLDERS=True)
    assert train_of(cfg) == [("1.jpg", "None", "north gate"), ("2.jpg", "None", "south")]


def test_cameras_tracklets_and_ids_from_a_pattern(configured, write):
    folder = write("c1/t7_0.jpg", "c1/t7_1.jpg", "c2/t7_0.jpg")
    pattern = r"c(?P<camera>\d+)/t(?P<tracklet>\d+)_"
    cfg = configured(f"folder:{folder}", DATASETS__OWN__PATTERN=pattern)
    assert [camera for _, _, camera in train_of(cfg)] == ["1", "1", "2"]
    items = training_items(cfg.DATASETS.TARGETS)
    # Trackers count anew in each camera: the third image is of another tracklet.
    assert training_tracklets(cfg.DATASETS.TARGETS, items).tolist() == [0, 0, 1]
    cfg = configured(f"folder:{folder}", DATASETS__OWN__PATTERN=r"(?P<id>t\d+)")
    assert [pid for _, pid, _ in train_of(cfg)] == ["t7", "t7", "t7"]


def test_options_of_a_later_config_hold(configured, write):
    folder = write("one/1.jpg")
    assert train_of(configured(f"folder:{folder}", DATASETS__OWN__CAMERA_FOLDERS=True))[0][2] == "one"
    assert train_of(configured(f"folder:{folder}"))[0][2] == "None"


def test_query_and_gallery_folders_are_the_test_set_and_not_trained_on(configured, write):
    folder = write(
        "a.jpg", "query/0007_c1s1.jpg", "gallery/0007_c2s1.jpg", "gallery/0000_c2.jpg", "gallery/-1_c2.jpg"
    )
    name = f"folder:{folder}"
    cfg = configured(name)
    assert [item[0] for item in train_of(cfg)] == ["a.jpg"]
    dataset = build_dataset(name)
    assert [item[1:] for item in dataset.query] == [(7, 1)]
    assert [item[1:] for item in dataset.gallery] == [(0, 2), (7, 2)]
    loader, num_query = build_reid_test_loader(cfg, dataset_name=name)
    assert (num_query, len(loader.dataset)) == (1, 3)


def test_a_test_set_without_cameras_leaves_no_match_out(configured, write):
    folder = write("query/anna.jpg", "gallery/anna.jpg", "gallery/ben.jpg")
    name = f"folder:{folder}"
    configured(name, DATASETS__OWN__TEST_PATTERN=r"^(?P<id>[a-z]+)\.")
    dataset = build_dataset(name)
    assert [item[1:] for item in dataset.query] == [(0, 0)]
    assert [item[1:] for item in dataset.gallery] == [(0, 1), (1, 1)]


def test_a_list_with_every_column(configured, table):
    name = table(
        "\ufeffpath, camera,tracklet,id,subset\n"
        '"odd, name.jpg",east,1,p1,\nb.jpg,west,,p2,train\nq.jpg,east,,7,query\n/abs/g.jpg,west,,7,gallery\n'
    )
    cfg = configured(name)
    assert train_of(cfg) == [("b.jpg", "p2", "west"), ("odd, name.jpg", "p1", "east")]
    items = training_items(cfg.DATASETS.TARGETS)
    assert training_tracklets(cfg.DATASETS.TARGETS, items).tolist() == [-1, 0]
    dataset = build_dataset(name)
    assert dataset.query == [(os.path.join(os.path.dirname(name[4:]), "q.jpg"), 7, 0)]
    assert dataset.gallery == [("/abs/g.jpg", 7, 1)]


def test_a_list_of_paths_only(configured, table, caplog):
    logging.getLogger("fastreid").propagate = True
    with caplog.at_level(logging.WARNING):
        cfg = configured(table("Path,width\na.jpg,64\n\nb.jpg,60\n"))
        assert [item[0] for item in train_of(cfg)] == ["a.jpg", "b.jpg"]
    assert "ignored the columns 'width'" in caplog.text


@pytest.mark.fault
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path"),
        ("a.jpg\nb.jpg\n", "no column path: its first line must name the columns"),
        ("path\n", "lists no images"),
        ("path,camera\na.jpg,1,2\n", "line 2: more or fewer fields than columns"),
        ("path,camera\na.jpg\n", "line 2: more or fewer fields than columns"),
        ("path,camera\n,1\n", "line 2: the path is empty"),
        ("path,subset\na.jpg,test\n", "line 2: the subset is 'test'; choose one of train, query, gallery"),
        ("path\na.jpg\nb.jpg\na.jpg\n", "lines 2 and 4 both name .*a.jpg"),
        ("path,camera\na.jpg,1\nb.jpg,\n", r"b\.jpg' has no camera, but 1 of the 2 images have one"),
        ("path,id\na.jpg,1\nb.jpg,\n", r"b\.jpg' has no id"),
        ("path,subset\na.jpg,query\nb.jpg,gallery\n", "query and gallery images have no id"),
    ],
)
def test_lists_that_cannot_be_used(configured, table, observe, text, message):
    with pytest.raises(DatasetError, match=message) as error:
        train_of(configured(table(text)))
    observe("own data: a list with mistakes", error.value)


@pytest.mark.fault
def test_a_list_in_another_encoding_is_named(configured, table, observe):
    with pytest.raises(DatasetError, match=r"list\.csv' cannot be read as CSV in UTF-8") as error:
        train_of(configured(table("path\nGröße.jpg\n", "latin-1")))
    observe("own data: a list that is not UTF-8", error.value)


@pytest.mark.fault
def test_missing_and_empty_folders_are_named(configured, write, tmp_path, observe):
    for kind in ("folder", "csv"):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            train_of(configured(f"{kind}:{tmp_path / 'nowhere'}"))
    folder = write("notes.txt", ".hidden.jpg")
    with pytest.raises(DatasetError, match="crops' holds no images") as error:
        train_of(configured(f"folder:{folder}"))
    observe("own data: a folder without images", error.value)
    folder = write("query/1_c1.jpg", "gallery/1_c2.jpg", below="tests only")
    with pytest.raises(DatasetError, match="no training images in folder:"):
        train_of(configured(f"folder:{folder}"))


@pytest.mark.fault
def test_loops_links_and_other_files(write, caplog, observe):
    folder = write("a/1.jpg", "notes.txt", ".cache/2.jpg", "a/._1.jpg")
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "b").symlink_to(write("3.jpg", below="elsewhere"))
    (folder / "c").symlink_to(folder / "a")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    logging.getLogger("fastreid").propagate = True
    with caplog.at_level(logging.WARNING):
        found = [path.relative_to(folder).as_posix() for path in images_below(folder)]
    # Each real folder once; a link to no file is an image that cannot be read, which is another key's matter.
    assert sorted(found) == ["a/1.jpg", "b/3.jpg", "dangling.jpg"]
    assert "passed over 1 files that are no images" in caplog.text
    observe("own data: links that make a folder contain itself", "each real folder is read once")


@pytest.mark.fault
def test_names_that_are_no_text_are_named(configured, write, observe):
    folder = write("a.jpg")
    try:
        with open(os.fsencode(folder) + b"/\xff\xfe.jpg", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes text only")
    with pytest.raises(DatasetError, match=r"xff.*rename it") as error:
        train_of(configured(f"folder:{folder}"))
    observe("own data: a file name that is no text", error.value)


@pytest.mark.fault
def test_names_that_a_pattern_does_not_match_are_named(configured, write, observe):
    folder = write("cam1/a.jpg", "b.jpg")
    with pytest.raises(DatasetError, match=r"'b\.jpg' lies in .* itself.*CAMERA_FOLDERS False") as error:
        train_of(configured(f"folder:{folder}", DATASETS__OWN__CAMERA_FOLDERS=True))
    observe("own data: an image outside the cameras' folders", error.value)
    with pytest.raises(DatasetError, match=r"'b\.jpg' in .* does not match DATASETS\.OWN\.PATTERN") as error:
        train_of(configured(f"folder:{folder}", DATASETS__OWN__PATTERN=r"cam(?P<camera>\d)"))
    observe("own data: a name that the pattern does not match", error.value)
    folder = write("query/portrait.jpg", below="tests")
    with pytest.raises(DatasetError, match=r"does not match DATASETS\.OWN\.TEST_PATTERN"):
        train_of(configured(f"folder:{folder}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"DATASETS__OWN__PATTERN": "("}, r"DATASETS\.OWN\.PATTERN is '\(', which is no regular expression"),
        ({"DATASETS__OWN__PATTERN": r"(?P<cam>\d)"}, "the groups it may name are camera, tracklet, id"),
        ({"DATASETS__OWN__PATTERN": r"c(\d)"}, "names no group"),
        ({"DATASETS__OWN__TEST_PATTERN": r"c(?P<camera>\d)"}, r"evaluation needs the group \(\?P<id>"),
        (
            {"DATASETS__OWN__CAMERA_FOLDERS": True, "DATASETS__OWN__PATTERN": r"(?P<camera>\d)"},
            "CAMERA_FOLDERS is True and DATASETS.OWN.PATTERN has a group camera: choose one",
        ),
        ({"DATASETS__TARGETS": ("dir:/crops",)}, r"DATASETS\.TARGETS has 'dir:/crops'"),
        ({"DATASETS__TESTS": ("csv:",)}, r"DATASETS\.TESTS has 'csv:'"),
    ],
)
def test_impossible_keys_are_refused(tiny_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_config(tiny_config(**overrides))


def test_what_the_data_do_not_have_is_refused_by_key(configured, write):
    folder = write("1.jpg", "2.jpg")
    cfg = configured(f"folder:{folder}", PSEUDO_LABELS__METHOD="dbscan")
    items = training_items(cfg.DATASETS.TARGETS)
    check_cameras(cfg, items)
    cfg.PSEUDO_LABELS.CAMERA_AWARE.ENABLED = True
    with pytest.raises(DatasetError, match=r"PSEUDO_LABELS\.CAMERA_AWARE\.ENABLED is True.*no camera ids"):
        check_cameras(cfg, items)
    check_cameras(cfg, [(path, pid, str(i)) for i, (path, pid, _) in enumerate(items)])
    with pytest.raises(DatasetError, match=r"PSEUDO_LABELS\.MUST_LINK is True.*name no tracklets"):
        training_tracklets(cfg.DATASETS.TARGETS, items)
    with pytest.raises(DatasetError, match=r"DATASETS\.TESTS names folder.*no query and no gallery"):
        check_test_sets(cfg.DATASETS.TARGETS)


def test_tracklets_of_one_frame_of_a_camera_exclude_each_other(configured, table):
    lines = ["0.jpg,a,1,10", "1.jpg,a,2,10", "2.jpg,b,1,10", "3.jpg,a,3,11", "4.jpg,a,1,11"]
    cfg = configured(table("path,camera,tracklet,frame\n" + "\n".join(lines)))
    items = training_items(cfg.DATASETS.TARGETS)
    # In sorted order a/1, a/2, a/3, b/1: the second camera's frame 10 is another moment.
    assert exclusive_tracklets(cfg.DATASETS.TARGETS, items).tolist() == [[0, 1], [0, 2]]
    cfg = configured(table("path,camera,tracklet\n0.jpg,a,1\n1.jpg,a,2"))
    items = training_items(cfg.DATASETS.TARGETS)
    with pytest.raises(DatasetError, match=r"PSEUDO_LABELS\.CANNOT_LINK is True.*no frames.*column frame"):
        exclusive_tracklets(cfg.DATASETS.TARGETS, items)


def test_an_own_labelled_list_can_be_the_source(configured, table):
    cfg = configured(table("path,id\n" + "".join(f"{i}.jpg,p{i // 2}\n" for i in range(6))))
    items = training_items(cfg.DATASETS.TARGETS)
    assert len(np.unique([item[1] for item in items])) == 3
