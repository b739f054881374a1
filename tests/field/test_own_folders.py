"""Own folders as they lie: identity folders, several patterns in one config, lists, pipes, links.

From trackers and labelling tools: crops in `query/<id>/x.jpg`, a labelled `folder:` source beside a `folder:`
target of other names, a source without a pattern ("1 identities: training needs at least 2"), a column
`identity` in place of `id`, semicolons, and a named pipe that ended in .jpg and was waited for.
"""

import logging
import os
import socket

import pytest

from mmt_plugin import data
from mmt_plugin.config import ConfigError, check_config
from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.data.datasets.own.listing import images_below
from mmt_plugin.data.items import build_dataset, training_items
from mmt_plugin.data.preflight import check_sets
from mmt_plugin.engine import pipeline


@pytest.fixture
def write(tmp_path):
    """A function that makes files below a folder, and returns its data set's name."""

    def make(below: str, *names: str) -> str:
        for name in names:
            path = tmp_path / below / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"picture")
        return f"folder:{tmp_path / below}"

    return make


@pytest.fixture
def configured(tiny_config):
    def make(**overrides):
        cfg = tiny_config(**{"DATASETS__TESTS": (), **overrides})
        check_config(cfg)
        data.configure(cfg)
        return cfg

    return make


@pytest.mark.parametrize(
    "pattern", [r"(?P<id>[^/]+)/[^/]+$", r"/(?P<id>[a-z]+\d)/", r"^\w+/(?P<id>\w+)/(?P<camera>\d)"]
)
def test_identity_folders_in_query_and_gallery(configured, write, pattern):
    name = write("crops", "query/anna7/1.jpg", "gallery/anna7/2.jpg", "gallery/ben2/3.jpg", "loose/4.jpg")
    configured(DATASETS__TARGETS=(name,), DATASETS__OWN__TEST_PATTERN=pattern)
    dataset = build_dataset(name)
    assert [str(item[1]) for item in (*dataset.query, *dataset.gallery)] == ["anna7", "anna7", "ben2"]
    assert len(dataset.train) == 1


def test_a_stray_name_makes_its_folder_no_identity(configured, write):
    name = write("crops", "query/0007_c1.jpg", "gallery/12_c3/portrait.jpg", "gallery/12_c3/0007_c2.jpg")
    configured(DATASETS__TARGETS=(name,))
    with pytest.raises(DatasetError, match=r"'portrait\.jpg' .* does not match DATASETS\.OWN\.TEST_PATTERN"):
        build_dataset(name)


def test_a_source_and_a_target_of_other_names_in_one_config(configured, write):
    source = write("labelled", "id4/x.jpg", "id4/y.jpg", "id9/x.jpg")
    target = write("crops", "north/1.jpg", "south/2.jpg")
    cfg = configured(
        DATASETS__NAMES=(source,),
        DATASETS__TARGETS=(target,),
        DATASETS__OWN__SETS=[[source, "PATTERN", r"id(?P<id>\d+)/"], [target, "CAMERA_FOLDERS", True]],
    )
    assert [item[1].rpartition("/")[2] for item in training_items(cfg.DATASETS.NAMES)] == ["4", "4", "9"]
    assert [item[2].rpartition("/")[2] for item in training_items(cfg.DATASETS.TARGETS)] == ["north", "south"]


def test_each_stage_reads_own_sets_as_its_config_says(configured, write, monkeypatch):
    """As where MMT.SOURCE.OPTS sets DATASETS.OWN for the source models alone."""
    name, seen = write("labelled", "id4/x.jpg", "id9/x.jpg"), []

    def note(cfg, *_):
        seen.append([item[1].rpartition("/")[2] for item in training_items(cfg.DATASETS.NAMES)])
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "MMTTrainer", note)
    for pattern in (r"id(?P<id>\d)", ""):
        cfg = configured(DATASETS__NAMES=(name,), DATASETS__OWN__PATTERN=pattern)
        configured(DATASETS__NAMES=(name,), DATASETS__OWN__PATTERN=r"(?P<id>i)")
        with pytest.raises(KeyboardInterrupt):
            pipeline.train(cfg, resume=False)
    assert seen == [["4", "9"], ["None", "None"]]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            ["folder:other", "PATTERN", r"(?P<id>\d)"],
            "'folder:other', which is no folder: data set of this config",
        ),
        (
            ["TARGET", "PATERN", r"(?P<id>\d)"],
            "KEY is one of CAMERA_FOLDERS, PATTERN, TEST_PATTERN, FOLLOW_LINKS",
        ),
        (["TARGET", "CAMERA_FOLDERS", "yes"], "the value is of its kind"),
        (["TARGET", "PATTERN", "("], r"PATTERN is '\(', which is no regular expression"),
        (["TARGET", "TEST_PATTERN", r"(?P<camera>\d)"], r"evaluation needs the group \(\?P<id>"),
        ("TARGET", "an entry is"),
    ],
)
def test_entries_for_one_set_that_cannot_be_meant(configured, write, entry, message):
    target = write("crops", "1.jpg")
    entry = [target if part == "TARGET" else part for part in entry] if isinstance(entry, list) else entry
    with pytest.raises(ConfigError, match=message):
        configured(DATASETS__TARGETS=(target,), DATASETS__OWN__SETS=[entry])


def test_a_labelled_source_says_what_it_lacks(configured, write, tmp_path):
    source = write("labelled", "a.jpg", "b.jpg")
    with pytest.raises(DatasetError, match=r"has no id.*PATTERN is empty; a group \(\?P<id>\.\.\.\)"):
        check_sets(configured(DATASETS__NAMES=(source,)))
    (tmp_path / "list.csv").write_text("path,identity,cam\na.jpg,1,2\nb.jpg,3,4\n")
    with pytest.raises(DatasetError, match=r"no column id; its columns are path, identity, cam"):
        check_sets(configured(DATASETS__NAMES=(f"csv:{tmp_path / 'list.csv'}",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path;id\na.jpg;1\n", "Its columns seem to be separated by semicolons: write commas"),
        ("path\tid\na.jpg\t1\n", "separated by tabs"),
        ("path,id,id\na.jpg,1,2\n", "has the column id twice"),
    ],
)
def test_lists_from_spreadsheets(configured, tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    configured(DATASETS__TARGETS=(name := f"csv:{tmp_path / 'list.csv'}",))
    with pytest.raises(DatasetError, match=message):
        build_dataset(name)


def test_a_list_may_have_empty_lines_and_a_mark_at_its_start(configured, tmp_path):
    (tmp_path / "list.csv").write_bytes("\ufeffpath,id\r\na.jpg,1\r\n\r\n , \r\n,\r\nb.jpg,2\r\n\n".encode())
    configured(DATASETS__TARGETS=(name := f"csv:{tmp_path / 'list.csv'}",))
    assert len(training_items([name])) == 2


def test_pipes_and_sockets_are_no_images(tmp_path, caplog):
    (tmp_path / "a.jpg").write_bytes(b"picture")
    os.mkfifo(tmp_path / "b.jpg")
    (tmp_path / "d.jpg").symlink_to("b.jpg")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(tmp_path / "c.jpg"))
        logging.getLogger("fastreid").propagate = True
        with caplog.at_level(logging.WARNING):
            assert [path.name for path in images_below(tmp_path)] == ["a.jpg"]
    assert "passed over 3 files that are no regular files, such as" in caplog.text


def test_folders_elsewhere_are_followed_by_key_only(configured, write, tmp_path):
    target = write("crops", "1.jpg")
    write("elsewhere", "2.jpg")
    (tmp_path / "crops" / "more").symlink_to(tmp_path / "elsewhere")
    configured(DATASETS__TARGETS=(target,))
    with pytest.raises(DatasetError, match=r"more' is a link to .*elsewhere', .*FOLLOW_LINKS True"):
        build_dataset(target)
    configured(DATASETS__TARGETS=(target,), DATASETS__OWN__FOLLOW_LINKS=True)
    assert len(build_dataset(target).train) == 2
