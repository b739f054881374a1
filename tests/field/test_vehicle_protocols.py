"""Vehicles are measured as their papers measure them, on toy lists with values worked out by hand.

VeRi-776 (Liu et al., ECCV 2016) and VERI-Wild (Lou et al., CVPR 2019): images of the query's vehicle and
camera are junk. VehicleID (Liu et al., CVPR 2016): no cameras are known; one random image of each vehicle is the
gallery, and ten such draws are averaged.
"""

from pathlib import Path

import numpy as np
import pytest

from mmt_plugin.data.build import build_dataset
from mmt_plugin.retrieval.ranking import rank_gallery


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return tmp_path


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def measured(dataset, places: dict[str, float]):
    """Rank by the distance on a line, where each file's place is told by its name."""
    query, gallery = (
        [places[Path(item[0]).stem] for item in part] for part in (dataset.query, dataset.gallery)
    )
    distances = np.abs(np.array(query)[:, None] - np.array(gallery)[None]).astype(np.float32)
    ids, cameras = (
        [np.array([item[k] for item in part]) for part in (dataset.query, dataset.gallery)] for k in (1, 2)
    )
    return rank_gallery(distances, *ids, *cameras)


def test_veri_leaves_out_the_querys_own_camera(root):
    """The query's ranked list: junk (its camera), another vehicle, a match, another, a match.

    Without junk matches stand at ranks 2 and 4: AP = (1/2 + 2/4) / 2; the last of 2 is at rank 4: INP 1/2.
    """
    places = {"0001_c001_0_0": 0.0, "0001_c001_1_0": 1.0, "0002_c002_0_0": 2.0, "0001_c020_0_0": 3.0}
    places |= {"0003_c001_0_0": 4.0, "0001_c010_0_0": 5.0}
    names = list(places)
    for folder, files in (("image_train", names), ("image_query", names[:1]), ("image_test", names[1:])):
        for name in files:
            write(root / "veri" / folder / f"{name}.jpg")
    found = measured(build_dataset("VeRi"), places)
    assert found.average_precisions.tolist() == [0.5]
    assert found.inverse_penalties.tolist() == [0.5]
    assert found.cmc[:3].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("name", "size"),
    [("SmallVeRiWild", 3000), ("MediumVeRiWild", 5000), ("LargeVeRiWild", 10000), ("VeRiWild", 10000)],
)
def test_veriwild_has_cameras_from_its_list_and_three_sizes(root, name, size):
    """Query a of vehicle 1: junk b, then wrong c, match d: AP 1/2. Query e of vehicle 2: match c: AP 1."""
    info = {"a": (1, 5), "b": (1, 5), "c": (2, 6), "d": (1, 174), "e": (2, 7)}
    places = {"a": 0.0, "b": 0.1, "c": 1.0, "d": 2.0, "e": 1.1}
    lists = root / "VERI-Wild" / "train_test_split"
    (root / "VERI-Wild" / "images").mkdir(parents=True)
    lines = [
        f"{vehicle:05d}/{image};{camera};2018-03-11;Audi;Sedan;black"
        for image, (vehicle, camera) in info.items()
    ]
    write(lists / "vehicle_info.txt", "id/image;Camera ID;Time;Model;Type;Color", *lines)
    write(lists / "train_list.txt", "00001/a.jpg", "00002/c.jpg")
    for other in (3000, 5000, 10000):
        queries, gallery = (["a", "e"], ["b", "c", "d"]) if other == size else (["a"], ["d"])
        write(lists / f"test_{other}_query.txt", *(f"{info[image][0]:05d}/{image}.jpg" for image in queries))
        write(lists / f"test_{other}.txt", *(f"{info[image][0]:05d}/{image}.jpg" for image in gallery))
    dataset = build_dataset(name)
    assert [item[1:] for item in dataset.gallery] == [(1, 5), (1, 174), (2, 6)]
    found = measured(dataset, places)
    assert sorted(found.average_precisions.tolist()) == [0.5, 1.0]
    assert found.cmc[:2].tolist() == [0.5, 1.0]
