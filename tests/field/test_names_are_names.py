"""Identities and cameras of own data are names: equal if their text is equal, and only then.

From a tracking project whose tracks were named `<camera>_<number>`: identities `1_23` and `12_3` were read
as the number 123 and became one person, and a ranking that was perfect scored 78 mAP. Others had twenty-digit
ids from a database, `07` beside `7`, and `-1` for detections of nobody among names of letters.
"""

import pickle

import numpy as np
import pytest
import torch

from mmt_plugin import data
from mmt_plugin.data.datasets.own.names import NamedNumber, number_names, qualified, unqualified
from mmt_plugin.data.items import build_dataset, training_items, training_tracklets
from mmt_plugin.report.collect import camera_name, identity_name
from mmt_plugin.retrieval.ranking import rank_gallery


@pytest.fixture
def table(tmp_path, tiny_config):
    """A function: lines of a list -> its registered data set."""

    def make(*rows: str, header: str = "path,camera,id,subset"):
        (tmp_path / "list.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        name = f"csv:{tmp_path / 'list.csv'}"
        data.configure(tiny_config(DATASETS__TARGETS=(name,), DATASETS__TESTS=()))
        return name

    return make


@pytest.mark.parametrize(
    "names",
    [
        ("1_23", "12_3"),
        ("07", "7"),
        ("12345678901234567890", "12345678901234567891"),
        ("1e3", "1000"),
        ("0x10", "16"),
        ("+7", "7"),
        ("\u0667", "7"),  # an Arabic seven, which int() reads as 7
        ("\u00e9", "e\u0301"),  # one character, and two that look the same
        ("-01", "-1"),
        ("Anna", "anna"),
        ("1.0", "1"),
    ],
)
def test_different_text_is_a_different_name(names):
    numbers = number_names(names)
    assert len(set(map(int, numbers.values()))) == len(names)
    assert [str(numbers[name]) for name in names] == list(names)
    assert all((int(number) == -1) == (name == "-1") for name, number in numbers.items())
    assert max(map(int, numbers.values())) < 2**63
    assert number_names(reversed(names)) == numbers


def test_whole_numbers_stand_for_themselves():
    assert {name: int(number) for name, number in number_names(["0007", "12", "-1"]).items()} == {
        "0007": 7,
        "12": 12,
        "-1": -1,
    }


def test_a_perfect_ranking_scores_100(table):
    rows = [f"q{i}.jpg,a,{name},query" for i, name in enumerate(("1_23", "12_3"))]
    rows += [f"g{i}.jpg,b,{name},gallery" for i, name in enumerate(("1_23", "12_3"))]
    dataset = build_dataset(table(*rows))
    ids, cameras = (
        [np.array([item[k] for item in part]) for part in (dataset.query, dataset.gallery)] for k in (1, 2)
    )
    # The other identity's image is the second nearest, so it would count as a match if ids were one number.
    distances = np.array([[0.1, 0.2], [0.2, 0.1]], dtype=np.float32)
    found = rank_gallery(distances, *ids, *cameras)
    assert found.average_precisions.tolist() == [1, 1]
    assert found.inverse_penalties.tolist() == [1, 1]


def test_junk_keeps_its_meaning_among_names(table):
    rows = (
        "q.jpg,gate,anna,query",
        "g.jpg,hall,anna,gallery",
        "x.jpg,hall,-1,gallery",
        "y.jpg,hall,-01,gallery",
    )
    rows += ("t.jpg,gate,anna,train", "u.jpg,gate,ben,train", "v.jpg,gate,-1,train")
    name = table(*rows)
    dataset = build_dataset(name)
    assert [str(item[1]) for item in dataset.gallery] == ["anna", "-01"]
    assert [item[1] for item in training_items([name])] == [qualified(name, "anna"), qualified(name, "ben")]


def test_spaces_around_a_field_do_not_belong_to_it_and_those_inside_do(table):
    rows = ("q.jpg, 7 ,a b,query", "g.jpg,8, a b,gallery", "h.jpg,8,a  b,gallery")
    dataset = build_dataset(table(*rows))
    assert [str(item[1]) for item in (*dataset.query, *dataset.gallery)] == ["a b", "a b", "a  b"]
    assert [str(item[2]) for item in dataset.query] == ["7"]


def test_a_tracklet_of_another_camera_is_another_tracklet_whatever_the_names(table):
    rows = ("1.jpg,a/b,c", "2.jpg,a,b/c", "3.jpg,a,b/c", "4.jpg,a%2Fb,c")
    name = table(*rows, header="path,camera,tracklet")
    items = training_items([name])
    assert len({item[2] for item in items}) == 3
    first, second, third, fourth = training_tracklets([name], items)
    assert second == third
    assert len({first, second, fourth}) == 3


def test_names_of_a_set_are_apart_from_those_of_every_other():
    assert qualified("folder:x", "y/1") != qualified("folder:x/y", "1")
    for name in ("north gate", "a/b", "100%", "%2F", "Größe"):
        assert unqualified(qualified("folder:/data", name)) == name


def test_people_read_the_names_that_they_gave():
    assert camera_name(NamedNumber(7, "07")) == "camera 07"
    assert camera_name(NamedNumber(0, "north gate")) == "north gate"
    assert camera_name(qualified("folder:/data/crops", "a/b_3")) == "a/b_3"
    assert identity_name(qualified("csv:list.csv", "1_23")) == "1_23"
    assert identity_name(7) == "7"


def test_a_named_number_is_a_number_to_every_program():
    number = NamedNumber(3, "anna")
    assert (number, f"{number:d}", f"{number}") == (3, "3", "anna")
    assert pickle.loads(pickle.dumps(number)).name == "anna"
    assert np.array([number, number]).dtype == np.int64
    assert torch.tensor([number]).tolist() == [3]
