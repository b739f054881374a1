"""Vehicles are measured as their papers measure them, on toy lists with values worked out by hand.

VeRi-776 (Liu et al., ECCV 2016) and VERI-Wild (Lou et al., CVPR 2019): images of the query's vehicle and
camera are junk. VehicleID (Liu et al., CVPR 2016): no cameras are known; one random image of each vehicle is
the gallery, and ten such draws are averaged.
"""

from pathlib import Path

import numpy as np
import pytest

from mmt_plugin.data.items import build_dataset
from mmt_plugin.retrieval import Method, evaluate, rank_gallery
from mmt_plugin.retrieval.draws import gallery_draws


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


def test_vehicleid_averages_random_galleries_of_one_image_each():
    """Vehicle 1 stands at 0 and 4 on a line, vehicle 2 at -1. In the gallery 0 is the nearest of 4 (AP 1),
    but 4 is not the nearest of 0 (AP 1/2).
    """
    places, vehicles = np.array([[0.0], [4.0], [-1.0]], dtype=np.float32), np.array([1, 1, 2])
    draws = list(gallery_draws(vehicles, 10))
    values = {0: 100.0, 1: 50.0}
    expected = np.mean([values[gallery[0]] for _, gallery in draws])
    assert 50 < expected < 100
    method = Method(metric="euclidean", gallery_draws=10)
    # Neither the cameras nor the split that the data set lists are looked at.
    found = evaluate(places[:1], places[1:], vehicles[:1], vehicles[1:], [3], [3, 3], method)
    assert found.metrics["mAP"] == pytest.approx(expected)
    assert found.metrics["Rank-5"] == 100
    assert (found.counts.queries, found.counts.left_out, found.counts.gallery) == (1, 0, 2)


def test_a_draw_is_one_image_of_each_vehicle_and_the_same_in_every_evaluation():
    vehicles = np.repeat([7, 8, 9], [4, 1, 3])
    draws = list(gallery_draws(vehicles, 10))
    for queries, gallery in draws:
        assert vehicles[gallery].tolist() == [7, 8, 9]
        assert sorted([*queries, *gallery]) == list(range(8))
    assert len({tuple(gallery) for _, gallery in draws}) > 3
    again = list(gallery_draws(vehicles, 10))
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(draws, again, strict=True))
    with pytest.raises(ValueError, match="no identity has two images"):
        list(gallery_draws(np.arange(4), 10))
