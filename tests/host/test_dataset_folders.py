"""Data set folders in a fixed order, parsed by file name, missing ones named."""

import random

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from miniature_market import write_market


def items(market):
    return market.train, market.query, market.gallery


def test_items_are_in_path_order_whatever_the_file_system_says(market_root, monkeypatch):
    expected = items(DATASET_REGISTRY.get("Market1501")(root=str(market_root)))
    assert [len(part) for part in expected] == [32, 6, 18]
    assert all(part == sorted(part) for part in expected)
    monkeypatch.setattr("glob.glob", lambda pattern: [])
    assert items(DATASET_REGISTRY.get("Market1501")(root=str(market_root))) == ([], [], [])
    names = [path for path, _, _ in expected[0]]
    monkeypatch.setattr("glob.glob", lambda pattern: random.Random(3).sample(names, len(names)))
    assert DATASET_REGISTRY.get("Market1501")(root=str(market_root)).train == expected[0]


def test_identities_come_from_the_file_name_not_the_folder(tmp_path):
    root = tmp_path / "data_12_c3"
    write_market(root, train_ids=[7], test_ids=[8])
    market = DATASET_REGISTRY.get("Market1501")(root=str(root))
    assert {identity for _, identity, _ in market.train} == {"market1501_7"}
    assert [(identity, camera) for _, identity, camera in market.gallery] == [(8, 1), (8, 2), (8, 3)]


def test_unparsable_file_name_is_named(tmp_path):
    write_market(tmp_path, train_ids=[7], test_ids=[8])
    (tmp_path / "Market-1501-v15.09.15" / "query" / "me_and_my_dog.jpg").touch()
    with pytest.raises(ValueError, match=r"me_and_my_dog\.jpg"):
        _ = DATASET_REGISTRY.get("Market1501")(root=str(tmp_path)).query


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Market1501", "none"),
        ("DukeMTMC", "DukeMTMC-reID"),
        ("MSMT17", "MSMT17_V1 or MSMT17_V2"),
        ("VeRi", "veri"),
        ("SmallVehicleID", "vehicleid"),
        ("VeRiWild", "VERI-Wild"),
        ("WildTrackCrop", "Wildtrack_crop_dataset"),
    ],
)
def test_missing_folder_is_named_with_the_way_out(tmp_path, name, folder):
    with pytest.raises(FileNotFoundError) as error:
        DATASET_REGISTRY.get(name)(root=str(tmp_path / "none"))
    message = str(error.value)
    assert all(part in message for part in (name, str(tmp_path / "none"), folder, "FASTREID_DATASETS"))
    assert "\n" not in message


def test_vehicleid_is_split_the_same_way_every_time(tmp_path):
    lists = tmp_path / "vehicleid" / "train_test_split"
    lists.mkdir(parents=True)
    (tmp_path / "vehicleid" / "image").mkdir()
    lines = "".join(f"{image:04d} {image // 10}\n" for image in range(100))
    for name in ("train_list.txt", "test_list_800.txt"):
        (lists / name).write_text(lines)
    splits = []
    for seed in (0, 1):
        random.seed(seed)
        data = DATASET_REGISTRY.get("SmallVehicleID")(root=str(tmp_path))
        splits.append((data.query, data.gallery))
        assert random.random() == random.Random(seed).random()
    assert splits[0] == splits[1]
    assert [len(part) for part in splits[0]] == [90, 10]
