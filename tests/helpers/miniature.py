"""Miniatures of the real data sets: a few tiny pictures each, in the folders, lists and file names that
fastreid's classes read below FASTREID_DATASETS.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SIZE = (32, 16)  # height, width
TRAIN_IDS, TEST_IDS = range(1, 7), range(101, 105)
CAMERAS = (1, 2)
SHOTS = 2  # by each camera


class Shot(NamedTuple):
    """One picture: of whom, by which camera, and its number among them."""

    identity: int
    camera: int
    number: int


def write_market(root: Path) -> None:
    _write_folders(
        root / "Market-1501-v15.09.15",
        ("bounding_box_train", "query", "bounding_box_test"),
        "{0.identity:04d}_c{0.camera}s1_{0.number:06d}_00.jpg",
    )


def write_duke(root: Path) -> None:
    _write_folders(
        root / "DukeMTMC-reID",
        ("bounding_box_train", "query", "bounding_box_test"),
        "{0.identity:04d}_c{0.camera}_f{0.number:07d}.jpg",
    )


def write_veri(root: Path) -> None:
    _write_folders(
        root / "veri",
        ("image_train", "image_query", "image_test"),
        "{0.identity:04d}_c{0.camera:03d}_{0.number:08d}_0.jpg",
    )


def write_msmt17(root: Path) -> None:
    """Identities are numbered from 0, anew in training and test; so are they in the lists."""
    folder = root / "MSMT17_V1"

    def lines(subset: str, shots: list[Shot], first: int) -> list[str]:
        entries = []
        for shot in shots:
            pid = shot.identity - first
            name = f"{pid:04d}/{pid:04d}_{shot.number:03d}_{shot.camera:02d}_0303morning_0001_0.jpg"
            draw(folder / subset / name, shot)
            entries.append(f"{name} {pid}")
        return entries

    query, gallery = query_and_gallery()
    *training, validation = train_shots()
    _write_list(folder / "list_train.txt", lines("train", training, TRAIN_IDS[0]))
    _write_list(folder / "list_val.txt", lines("train", [validation], TRAIN_IDS[0]))
    _write_list(folder / "list_query.txt", lines("test", query, TEST_IDS[0]))
    _write_list(folder / "list_gallery.txt", lines("test", gallery, TEST_IDS[0]))


def write_vehicleid(root: Path) -> None:
    """Pictures are numbered through; cameras are unknown."""
    folder = root / "vehicleid"
    lists = {"train_list.txt": train_shots(), "test_list_13164.txt": list(shots(TEST_IDS))}
    for name, pictures in lists.items():
        entries = []
        for shot in pictures:
            draw(folder / "image" / f"{shot.number:07d}.jpg", shot)
            entries.append(f"{shot.number:07d} {shot.identity}")
        _write_list(folder / "train_test_split" / name, entries)


def write_veriwild(root: Path) -> None:
    """The test lists of 3,000 identities are SmallVeRiWild's, of 5,000 MediumVeRiWild's, and of 10,000
    LargeVeRiWild's and VeRiWild's own.
    """
    folder = root / "VERI-Wild"
    lists = folder / "train_test_split"
    query, gallery = query_and_gallery()

    def name(shot: Shot) -> str:
        return f"{shot.identity:05d}/{shot.number:06d}"

    info = ["id/image;Camera ID;Time;Model;Type;Color"]
    for shot in train_shots() + query + gallery:
        draw(folder / "images" / f"{name(shot)}.jpg", shot)
        info.append(f"{name(shot)};{shot.camera};2018-03-11 10:04:23;Audi A6;Sedan;black")
    _write_list(lists / "vehicle_info.txt", info)
    _write_list(lists / "train_list.txt", [f"{name(shot)}.jpg" for shot in train_shots()])
    for size in (3000, 5000, 10000):
        _write_list(lists / f"test_{size}_query.txt", [f"{name(shot)}.jpg" for shot in query])
        _write_list(lists / f"test_{size}.txt", [f"{name(shot)}.jpg" for shot in gallery])


def write_personx(root: Path, folder: str = "personX") -> None:
    for shot in train_shots():
        name = f"{shot.identity:04d}_c{shot.camera}s1_{shot.number:06d}.jpg"
        draw(root / "visda2020" / folder / "image_train" / name, shot)


def write_personx_sda(root: Path) -> None:
    """Copies stand for translated images."""
    write_personx(root, "personX_sda")


def write_visda20(root: Path) -> None:
    """Training images have their cameras in a list and names that tell nothing; so have test images, which
    have no list. The indices are in an order of their own.
    """
    folder = root / "visda2020"
    cameras = {1: 2, 2: 6}  # two of the five that the challenge has, as it numbers them
    lines = []
    for shot in train_shots():
        draw(folder / "target_training" / "image_train" / f"{shot.number:06d}.jpg", shot)
        lines.append(f"{shot.number:06d}.jpg {cameras[shot.camera]}")
    _write_list(folder / "target_training" / "label_target_training.txt", lines)
    for part, pictures in zip(("query", "gallery"), query_and_gallery(), strict=True):
        index = []
        for shot in pictures:
            camera = cameras[shot.camera]
            name = f"{shot.identity:04d}_c{camera}s1_{shot.number:06d}_00.jpg"
            draw(folder / "target_validation" / f"image_{part}" / name, shot)
            index.append(f"{name} {camera} {shot.identity:03d} {shot.number:04d}")
        _write_list(folder / f"index_validation_{part}.txt", index[::-1])
        names = [f"{number:04d}.jpg" for number in range(len(pictures))]
        for name, shot in zip(names, pictures, strict=True):
            draw(folder / "target_test" / f"image_{part}" / name, shot)
        _write_list(folder / f"index_test_{part}.txt", [f"{name}  {name[:4]}" for name in names])


def write_crops(root: Path) -> None:
    """Own crops: a folder of pictures whose names tell nothing."""
    for number, shot in enumerate(train_shots()):
        draw(root / "crops" / f"{number:06d}.jpg", shot)


# By the name under which fastreid registers the data set.
WRITERS = {
    "Market1501": write_market,
    "DukeMTMC": write_duke,
    "MSMT17": write_msmt17,
    "VeRi": write_veri,
    "VehicleID": write_vehicleid,
    "VeRiWild": write_veriwild,
    "PersonX": write_personx,
    "PersonXSDA": write_personx_sda,
    "VisDA20": write_visda20,
}


def write_all(root: Path) -> None:
    """Write every data set below one folder, as FASTREID_DATASETS expects them."""
    for write in WRITERS.values():
        write(root)


def shots(identities: range) -> Iterator[Shot]:
    """All pictures of some identities, with numbers that no other picture has."""
    for identity in identities:
        for camera in CAMERAS:
            for i in range(SHOTS):
                yield Shot(identity, camera, 100 * identity + 10 * camera + i)


def train_shots() -> list[Shot]:
    return list(shots(TRAIN_IDS))


def query_and_gallery() -> tuple[list[Shot], list[Shot]]:
    """The first camera's first picture of each test identity asks for the others."""
    test = list(shots(TEST_IDS))
    query = [shot for shot in test if (shot.camera, shot.number % 10) == (CAMERAS[0], 0)]
    return query, [shot for shot in test if shot not in query]


def draw(path: Path, shot: Shot) -> None:
    """Two coloured halves that tell the identity, under the camera's brightness, with some noise."""
    colours = np.random.default_rng(shot.identity).integers(40, 200, size=(2, 1, 1, 3))
    noise = np.random.default_rng(shot.number).integers(-20, 21, size=(2, SIZE[0] // 2, SIZE[1], 3))
    pixels = np.concatenate(np.clip(colours + 20 * shot.camera + noise, 0, 255)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


def _write_folders(folder: Path, subsets: tuple[str, str, str], file_name: str) -> None:
    """Training, query and gallery pictures, each in a folder, of names that tell all there is to know."""
    for subset, pictures in zip(subsets, (train_shots(), *query_and_gallery()), strict=True):
        for shot in pictures:
            draw(folder / subset / file_name.format(shot), shot)


def _write_list(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
