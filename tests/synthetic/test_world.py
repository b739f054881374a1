"""The built-in world: its plan, its identities, its pictures, its configuration."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from fastreid.config import get_cfg

from mmt_plugin import synthetic
from mmt_plugin.config import add_mmt_config
from mmt_plugin.synthetic import DOMAINS, METRO, PLAZA, WorldSpec
from mmt_plugin.synthetic.contact_sheet import contact_sheet
from mmt_plugin.synthetic.identity import CLOTH_COLOURS, SUMMER, sample_identity
from mmt_plugin.synthetic.render import render, render_jpeg
from mmt_plugin.synthetic.world import GALLERY, QUERY, TRAIN, Kind, Shot, person_ids, plan

SPEC = WorldSpec(
    train_ids=7,
    test_ids=9,
    train_images_per_id=5,
    test_images_per_id=6,
    distractor_ratio=0.5,
    junk_ratio=0.25,
)


@pytest.fixture
def world_config():
    cfg = get_cfg()
    add_mmt_config(cfg)
    yield cfg
    synthetic.configure(_standard())


def _standard():
    cfg = get_cfg()
    add_mmt_config(cfg)
    return cfg


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_sizes_are_as_configured(domain):
    shots = plan(SPEC, domain)
    kinds = Counter((shot.folder, shot.pid > 0) for shot in shots)
    assert kinds[TRAIN, True] == 7 * 5
    assert kinds[QUERY, True] == 9 * 2
    assert kinds[GALLERY, True] == 9 * 4
    assert Counter(shot.pid for shot in shots)[0] == 18
    assert Counter(shot.pid for shot in shots)[-1] == 9
    assert {shot.folder for shot in shots if shot.pid < 1} == {GALLERY}
    assert all(1 <= shot.camera <= SPEC.cameras for shot in shots)


@pytest.mark.parametrize(("images", "cameras"), [(4, 2), (4, 9), (7, 3), (10, 6), (23, 4)])
def test_every_query_has_a_match_under_another_camera(images, cameras):
    spec = WorldSpec(train_ids=2, test_ids=25, test_images_per_id=images, cameras=cameras)
    matches = defaultdict(set)
    shots = plan(spec, METRO)
    for shot in shots:
        if shot.folder == GALLERY and shot.kind is Kind.PERSON:
            matches[shot.pid].add(shot.camera)
    queries = [shot for shot in shots if shot.folder == QUERY]
    assert len(queries) == 50
    assert all(matches[query.pid] - {query.camera} for query in queries)
    assert max(Counter((query.pid, query.camera) for query in queries).values()) == 1


def test_nobody_is_in_two_sets_or_two_domains():
    sets = [set(ids) for domain in DOMAINS.values() for ids in person_ids(SPEC, domain)]
    assert len(set.union(*sets)) == sum(map(len, sets)) == 2 * (7 + 9)
    for domain in DOMAINS.values():
        train, test = person_ids(SPEC, domain)
        shots = plan(SPEC, domain)
        assert {shot.pid for shot in shots if shot.folder == TRAIN} == set(train)
        assert {shot.pid for shot in shots if shot.folder == QUERY} == set(test)


def test_file_names_are_unique_and_of_market_1501_style():
    names = [shot.name for shot in plan(SPEC, PLAZA)]
    assert len(set(names)) == len(names)
    assert names[0].startswith("0001_c")
    assert Shot(TRAIN, Kind.PERSON, 1, 3, 7, 0).name == "0001_c3s1_000007_00.jpg"
    assert Shot(GALLERY, Kind.STRANGER, 5, 3, 7, 0).name == "0000_c3s1_000007_00.jpg"
    assert Shot(GALLERY, Kind.JUNK, 5, 3, 7, 0).name == "-1_c3s1_000007_00.jpg"


def test_colours_are_shared_but_cloth_is_not_identical():
    people = [sample_identity(np.random.default_rng(seed), SUMMER) for seed in range(200)]
    palette = np.array(list(CLOTH_COLOURS.values()))
    worn = np.array([person.upper.colour for person in people])
    distance = np.abs(worn[:, None] - palette[None]).max(axis=2).min(axis=1)
    assert distance.max() < 40
    assert len(set(map(tuple, worn))) > 150
    assert len(set(people)) == 200


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_pictures_have_the_configured_size_and_show_something(domain):
    spec = WorldSpec(image_size=(96, 40))
    seen = set()
    for kind in Kind:
        for camera in range(1, 5):
            image = render(spec, domain, Shot(TRAIN, kind, 1, camera, 1, 0))
            assert image.size == (40, 96)
            assert image.mode == "RGB"
            assert np.asarray(image).std() > 5
            seen.add(image.tobytes())
    assert len(seen) == 16


def test_a_person_differs_from_another_more_than_from_themselves():
    """Under one camera, two pictures of a person are closer than pictures of two people, on average."""

    def pixels(person, frame):
        shot = Shot(TRAIN, Kind.PERSON, person, 1, frame, 0)
        image = render(WorldSpec(), PLAZA, shot).resize((8, 16))
        return np.asarray(image, dtype=float)

    same, other = [], []
    for person in range(1, 21):
        first = pixels(person, 2 * person)
        same.append(np.abs(first - pixels(person, 2 * person + 1)).mean())
        other.append(np.abs(first - pixels(person + 1, 2 * person + 1)).mean())
    assert np.median(same) < 0.6 * np.median(other)


def test_metro_is_darker_and_warmer_than_plaza():
    spec = WorldSpec()
    colour = {}
    for domain in DOMAINS.values():
        shots = plan(spec, domain)[::100]
        colour[domain.name] = np.mean(
            [np.asarray(render(spec, domain, shot)).mean((0, 1)) for shot in shots], axis=0
        )
    plaza, metro = colour["SynthPlaza"], colour["SynthMetro"]
    assert metro.mean() < 0.8 * plaza.mean()
    assert metro[0] / metro[2] > 1.1 * plaza[0] / plaza[2]


def test_a_picture_depends_on_seed_and_shot_alone():
    shots = plan(SPEC, METRO)[:6]
    forwards = [render_jpeg(SPEC, METRO, shot) for shot in shots]
    backwards = [render_jpeg(SPEC, METRO, shot) for shot in reversed(shots)]
    assert forwards == backwards[::-1]
    assert render_jpeg(WorldSpec(seed=2), METRO, shots[0]) != forwards[0]


def test_config_reaches_the_datasets(world_config, tmp_path):
    world_config.merge_from_list(
        [
            "SYNTHETIC.TRAIN_IDS",
            3,
            "SYNTHETIC.TEST_IDS",
            2,
            "SYNTHETIC.IMAGE_SIZE",
            [64, 32],
            "SYNTHETIC.NUM_WORKERS",
            0,
        ]
    )
    assert synthetic.configure(world_config) == synthetic.current_spec()
    assert synthetic.current_spec() == WorldSpec(train_ids=3, test_ids=2, image_size=(64, 32))
    assert len(synthetic.SynthMetro(root=str(tmp_path)).train) == 3 * 10


def test_defaults_are_the_standard_world(world_config):
    assert synthetic.spec_from_config(world_config) == WorldSpec()
    assert WorldSpec().train_ids >= 200
    assert WorldSpec().test_ids >= 200


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SEED", -1),
        ("TRAIN_IDS", 0),
        ("TEST_IDS", 0),
        ("TRAIN_IMAGES_PER_ID", 1),
        ("TEST_IMAGES_PER_ID", 3),
        ("CAMERAS", 1),
        ("CAMERAS", 10),
        ("IMAGE_SIZE", [128]),
        ("IMAGE_SIZE", [8, 8]),
        ("DISTRACTOR_RATIO", -0.1),
        ("JUNK_RATIO", -0.1),
        ("TRAIN_IMBALANCE", -0.1),
        ("TRAIN_DISTRACTOR_RATIO", -0.1),
        ("POSE_DOMINANCE", 1.1),
        ("CAMERA_TINT", -0.1),
        ("SIMILAR_CLOTHES", -0.1),
        ("NUM_WORKERS", -2),
    ],
)
def test_wrong_configuration_is_named(world_config, key, value):
    world_config.merge_from_list([f"SYNTHETIC.{key}", value])
    before = synthetic.current_spec()
    with pytest.raises(ValueError, match=rf"SYNTHETIC\.{key} is .*must"):
        synthetic.configure(world_config)
    assert synthetic.current_spec() == before


def test_different_worlds_have_different_folders():
    tags = {
        WorldSpec().tag,
        WorldSpec(seed=2).tag,
        WorldSpec(cameras=5).tag,
        WorldSpec(image_size=(64, 32)).tag,
        WorldSpec(train_imbalance=0.5).tag,
        WorldSpec(train_distractor_ratio=0.5).tag,
        WorldSpec(pose_dominance=0.5).tag,
        WorldSpec(camera_tint=0.5).tag,
        WorldSpec(similar_clothes=0.5).tag,
    }
    assert len(tags) == 9


def test_the_standard_world_keeps_the_folder_it_always_had():
    assert WorldSpec().tag == "200+200ids_seed1_6226c83f"


def test_unequal_identities_together_have_as_many_images():
    equal, unequal = (
        Counter(shot.pid for shot in plan(spec, METRO) if shot.folder == TRAIN)
        for spec in (WorldSpec(), WorldSpec(train_imbalance=0.7))
    )
    assert set(equal.values()) == {10}
    assert unequal.keys() == equal.keys()
    assert min(unequal.values()) >= 2
    assert max(unequal.values()) > 30
    assert np.std(np.log(list(unequal.values()))) == pytest.approx(0.7, abs=0.1)
    assert sum(unequal.values()) == pytest.approx(2000, rel=0.03)


def test_distractors_of_the_training_set_change_nothing_but_the_training_set():
    plain, noisy = (plan(WorldSpec(train_distractor_ratio=ratio), METRO) for ratio in (0, 0.5))
    added = [shot for shot in noisy if shot.folder == TRAIN and shot.kind is not Kind.PERSON]
    assert len(added) == 1000
    assert {shot.pid for shot in added} == {0}
    assert len({shot.person for shot in added}) == 1000
    assert 0.3 < np.mean([shot.kind is Kind.BACKGROUND for shot in added]) < 0.5
    strangers = {shot.person for shot in noisy if shot.folder == GALLERY and shot.kind is Kind.STRANGER}
    assert strangers.isdisjoint(shot.person for shot in added)
    assert [shot for shot in noisy if shot not in added] == plain


def test_each_training_distractor_is_an_identity_of_its_own(world_config, tmp_path):
    sizes = ["TRAIN_IDS", 3, "TEST_IDS", 2, "TRAIN_DISTRACTOR_RATIO", 0.2, "NUM_WORKERS", 0]
    world_config.SYNTHETIC.merge_from_list(sizes)
    synthetic.configure(world_config)
    found = Counter(item[1] for item in synthetic.SynthMetro(root=str(tmp_path)).train)
    assert sorted(found.values()) == [1] * 6 + [10] * 3


def test_every_test_image_of_a_person_can_be_a_query(world_config, tmp_path):
    world_config.SYNTHETIC.merge_from_list(["TRAIN_IDS", 2, "TEST_IDS", 5, "NUM_WORKERS", 0])
    synthetic.configure(world_config)
    some = synthetic.SynthMetro(root=str(tmp_path))
    world_config.SYNTHETIC.ALL_QUERIES = True
    synthetic.configure(world_config)
    every = synthetic.SynthMetro(root=str(tmp_path))
    assert (len(some.query), len(every.query)) == (10, 50)
    assert sorted(every.gallery) == sorted(some.query + some.gallery)
    assert set(every.query) == {item for item in every.gallery if item[1] > 0}
    assert every.train == some.train


def test_contact_sheet(tmp_path):
    spec = WorldSpec(cameras=3, image_size=(64, 32))
    sheet = contact_sheet(tmp_path / "sheet.jpg", spec, rows=2)
    assert (tmp_path / "sheet.jpg").stat().st_size > 1000
    assert sheet.width > 6 * 32
    assert sheet.height > 2 * 64
