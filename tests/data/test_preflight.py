"""All sets of a configuration are checked before anything is trained, without an image opened or drawn."""

import pytest

from mmt_plugin.config import check_config
from mmt_plugin.data.preflight import check_sets
from mmt_plugin.errors import UserError
from mmt_plugin.host.patching import temporarily
from mmt_plugin.synthetic import store
from mmt_plugin.system import decoding


@pytest.fixture
def checked(tiny_config, monkeypatch, tmp_path):
    """A function: overrides -> the configuration is checked in a place where nothing was drawn yet."""
    root = tmp_path / "nothing here"

    def check(recipe: str = "plaza2metro_mmt", training: bool = True, **overrides):
        cfg = tiny_config(recipe, **overrides)
        monkeypatch.setenv("FASTREID_DATASETS", str(root))
        check_config(cfg)
        with temporarily(decoding, "_decode", None), temporarily(store, "_write", None):
            check_sets(cfg, training)
        assert not root.exists()

    return check


@pytest.fixture
def crops(tmp_path):
    """A function: names of files -> the data set of the folder that holds them."""

    def make(*names: str) -> str:
        for name in names:
            path = tmp_path / "crops" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no picture")
        return f"folder:{tmp_path / 'crops'}"

    return make


def test_the_built_in_world_is_checked_and_not_drawn(checked):
    checked()
    checked("source", PSEUDO_LABELS__METHOD="ground_truth")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"TARGETS": ("SynthMtro",)}, r"'SynthMtro'.*did you mean SynthMetro.*\(DATASETS\.TARGETS\)"),
        ({"TESTS": ("Market-1501",)}, r"did you mean Market1501.*\(DATASETS\.TESTS\)"),
        ({"NAMES": ("Market1501",)}, r"Market1501 needs .*FASTREID_DATASETS.*\(DATASETS\.NAMES\)"),
        ({"TESTS": ("SynthMetro", "DukeMTMC")}, r"DukeMTMC needs.*\(DATASETS\.TESTS\)"),
        ({"TARGETS": ("folder:gone",)}, r"there is no folder .*gone.*\(DATASETS\.TARGETS\)"),
        ({"TESTS": ("PersonX",)}, r"PersonX needs.*\(DATASETS\.TESTS\)"),
        ({"TESTS": ("SynthPlazaSDA",)}, r"60 of 60 translated images are missing"),
    ],
)
def test_a_set_that_is_not_there_is_named_with_its_key(checked, overrides, message):
    with pytest.raises(UserError, match=message):
        checked(**{f"DATASETS__{key}": value for key, value in overrides.items()})


def test_the_sets_of_the_source_stage_alone(checked):
    with pytest.raises(UserError, match=r"'SynthPlasa'.*\(DATASETS\.NAMES in MMT\.SOURCE\.OPTS\)"):
        checked(MMT__SOURCE__OPTS=["DATASETS.NAMES", ("SynthPlasa",)])
    with pytest.raises(UserError, match=r"Market1501 needs.*in MMT\.SOURCE\.OPTS"):
        checked(MMT__SOURCE__OPTS=["DATASETS.NAMES", "('SynthPlaza', 'Market1501')"])
    # Sources that no stage reads need not be there, as where MMT.WEIGHTS names what they would give.
    checked(DATASETS__NAMES=("Market1501",), MMT__WEIGHTS=("a.pth", "b.pth"))
    checked(DATASETS__NAMES=("Market1501",), training=False)


def test_the_length_of_an_epoch_is_the_targets_alone(checked, crops):
    """The source stage has a recipe, and batches, of its own."""
    source = crops("id1/1.jpg", "id2/2.jpg")
    options = {"DATASETS__OWN__PATTERN": r"id(?P<id>\d)", "SOLVER__ITERS_PER_EPOCH": 0}
    checked(DATASETS__NAMES=(source,), **options)


@pytest.mark.parametrize(
    ("names", "overrides", "message"),
    [
        (["1.jpg"], {"SOLVER__ITERS_PER_EPOCH": 1}, "one image, of which no clusters can be made"),
        (
            ["1.jpg", "2.jpg"],
            {"SOLVER__ITERS_PER_EPOCH": 0, "PSEUDO_LABELS__KMEANS__NUM_CLUSTERS": 2},
            "2 training images do not fill a batch of 8",
        ),
        (["1.jpg", "2.jpg"], {}, "NUM_CLUSTERS is 8, more than the 2 training images"),
        (
            ["1.jpg", "2.jpg"],
            {"PSEUDO_LABELS__MUST_LINK": True, "PSEUDO_LABELS__KMEANS__NUM_CLUSTERS": 2},
            "MUST_LINK is True.*name no tracklets",
        ),
        (["notes.txt"], {}, "holds no images"),
        (["query/1_c1.jpg", "gallery/1_c2.jpg"], {}, "no training images"),
    ],
)
def test_a_target_that_cannot_be_adapted_to(checked, crops, names, overrides, message):
    with pytest.raises(UserError, match=rf"{message}.*\(DATASETS\.TARGETS\)$"):
        checked(DATASETS__TARGETS=(crops(*names),), **overrides)


def test_a_source_of_one_identity(checked, crops):
    name = crops(*(f"id1/{number}.jpg" for number in range(9)))
    with pytest.raises(UserError, match=r"has 1 identity: training on labels needs at least 2"):
        checked(DATASETS__NAMES=(name,), DATASETS__OWN__PATTERN=r"id(?P<id>\d)")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.jpg"], "which has no query and no gallery images"),
        (["query/1_c1.jpg"], "which has no gallery images"),
        (
            ["query/1_c1.jpg", "gallery/1_c1.jpg", "gallery/2_c2.jpg"],
            "no query identity appears in the gallery",
        ),
        (["query/1_c1.jpg", "gallery/01_c2.jpg"], "no query identity appears in the gallery"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_test_set_that_measures_nothing(checked, crops, names, message, training):
    with pytest.raises(UserError, match=message):
        checked(DATASETS__TESTS=(crops(*names),), training=training)


def test_a_list_that_names_test_images_that_are_not_there(checked, tmp_path):
    (tmp_path / "list.csv").write_text("path,id,camera,subset\nq.jpg,1,1,query\ng.jpg,1,2,gallery\n")
    with pytest.raises(UserError, match=r"list\.csv, which lists .*q\.jpg': there is no such file"):
        checked(DATASETS__TESTS=(f"csv:{tmp_path / 'list.csv'}",))


@pytest.mark.parametrize(
    ("missing", "told"),
    [("none.jpg", r"none\.jpg': correct the list"), (r"crops\1.jpg", r"crops\\\\1\.jpg' \(written with")],
)
def test_a_list_that_names_training_images_that_are_not_there(checked, tmp_path, missing, told):
    names = [f"{number}.jpg" for number in range(19)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("\r\n".join(["\ufeffpath", *names, missing]), encoding="utf-8")
    target = {"DATASETS__TARGETS": (f"csv:{tmp_path / 'list.csv'}",)}
    with pytest.raises(UserError, match=rf"20 training images, of which 1 are not there, such as .*{told}"):
        checked(**target)
    checked(**target, DATALOADER__ON_BAD_IMAGE="skip", DATALOADER__MAX_BAD_IMAGES=0.05)
    with pytest.raises(UserError, match="of which 1 are not there"):
        checked(**target, DATALOADER__ON_BAD_IMAGE="skip", DATALOADER__MAX_BAD_IMAGES=0.04)
