"""Every shipped recipe says what its name says, finds its source recipe, builds, and trains a step on
miniatures of its data sets.
"""

import math
import re
import runpy
import shutil
from functools import partial
from pathlib import Path

import miniature
import pytest
import torch
from fastreid.engine import DefaultTrainer
from tiny import REPOSITORY, as_options

from mmt_plugin import data
from mmt_plugin.config import check_config, load_config
from mmt_plugin.data.build import build_dataset
from mmt_plugin.data.translated import split_folder, translated_folder
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.engine.pipeline import source_config
from mmt_plugin.sda.pipeline import encoder_recipe
from mmt_plugin.sda.trainer import SDATrainer

CONFIGS = REPOSITORY / "configs"
RECIPES = sorted(
    path.relative_to(CONFIGS).with_suffix("").as_posix()
    for path in CONFIGS.rglob("*.yml")
    if not path.name.startswith("Base-") and path.parent.name != "evaluate"
)

PERSON_TASKS = ("market2duke", "duke2market", "market2msmt", "duke2msmt", "msmt2market")
VEHICLE_TASKS = ("vehicleid2veri", "vehicleid2veriwild")
# Folder -> the variants of each task on real data, for persons and for vehicles.
VARIANTS = {
    "source": (("", "_ibn"), ("",)),
    "baseline": (("", "_dbscan", "_ibn"), ("", "_dbscan")),
    "mmt": (("", "_dbscan", "_ibn"), ("", "_dbscan")),
}
MMT_RECIPES = [
    f"{folder}/{task}{variant}"
    for folder, (person, vehicle) in VARIANTS.items()
    for tasks, variants in ((PERSON_TASKS, person), (VEHICLE_TASKS, vehicle))
    for task in tasks
    for variant in variants
]
VISDA_BACKBONES = {
    "resnet50_ibn": ("build_resnet_backbone", "50x", True, 1),
    "resnest50": ("build_resnest_backbone", "50x", False, 2),
    "resnest101": ("build_resnest_backbone", "101x", False, 2),
    "densenet169_ibn": ("build_densenet_backbone", "169x", True, 2),
    "resnext101_ibn": ("build_resnext_backbone", "101x", True, 1),
}
VISDA_SOURCES = [f"source/personx2visda20_{name}" for name in VISDA_BACKBONES]
VISDA_RECIPES = [f"mmt_plus/personx2visda20_{name}" for name in VISDA_BACKBONES]
UDA_RECIPES = [
    f"mmt_plus/{task}"
    for task in ("market2duke", "duke2market", "market2msmt", "msmt2market", "vehicleid2veri")
]
OPENUNREID_RECIPES = ["openunreid/market2duke", "openunreid/duke2market"]
CAMERA_RECIPES = [f"camera/{name}" for name in ("visda20", "market", "duke", "synthmetro", "synthplaza")]
USL_RECIPES = ["usl/market", "usl/duke", "usl/msmt", "usl/synthmetro"]
OWN_RECIPES = ["own/folder", "own/folder_no_source", "own/synthetic"]
SDA_METHODS = {"personx2visda20": ("", "_spgan"), "market2duke": ("",), "plaza2metro": ("", "_spgan")}
SDA_RECIPES = [f"sda/{name}{method}" for name, methods in SDA_METHODS.items() for method in methods]
# Source pre-training on translated images.
TRANSLATED_SOURCES = ["source/personx_sda", "source/personx_spgan", "source/market_sda"]
REGISTERED = {
    "market": "Market1501",
    "duke": "DukeMTMC",
    "msmt": "MSMT17",
    "vehicleid": "VehicleID",
    "veri": "VeRi",
    "veriwild": "VeRiWild",
    "personx": "PersonX",
    "visda20": "VisDA20",
    "synthmetro": "SynthMetro",
    "synthplaza": "SynthPlaza",
}
TEST_SETS = {"VeRiWild": "SmallVeRiWild"}  # where it is not the training set's own

# One for each target data set; the others train without evaluating.
EVALUATED = (
    "mmt/duke2market",
    "mmt/market2duke",
    "mmt/market2msmt",
    "mmt/vehicleid2veri",
    "mmt/vehicleid2veriwild",
    "mmt_plus/personx2visda20_resnet50_ibn",
    "synthetic/plaza2metro_mmt",
)

# The shallowest of backbones that have no 18 layers.
SMALL_DEPTH = {
    "build_densenet_backbone": "121x",
    "build_resnest_backbone": "50x",
    "build_resnext_backbone": "50x",
}

# What makes any recipe train in a second. Everything else stays as the recipe has it.
TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.PRETRAIN": False,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DATALOADER.NUM_INSTANCE": 2,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.ITERS_PER_EPOCH": 1,
    "SOLVER.MAX_EPOCH": 1,
    "MMT.MOCO.QUEUE_SIZE": 16,
    "PSEUDO_LABELS.KMEANS.NUM_CLUSTERS": 3,
    # Untrained features suit no fixed radius, and the published share of all pairs is none of a miniature's.
    "PSEUDO_LABELS.DBSCAN.EPS_RULE": "rho",
    "PSEUDO_LABELS.DBSCAN.RHO": 0.2,
    "SYNTHETIC.TRAIN_IDS": 6,
    "SYNTHETIC.TEST_IDS": 4,
    "SYNTHETIC.IMAGE_SIZE": [32, 16],
    "SYNTHETIC.NUM_WORKERS": 0,
    "REPORT.ENABLED": False,
}
TINY_SDA = {
    **TINY,
    "MODEL.BACKBONE.DEPTH": "18x",
    "SDA.GENERATOR.WIDTH": 4,
    "SDA.DISCRIMINATOR.WIDTH": 4,
    "SDA.POOL_SIZE": 4,
    "SDA.DECAY_EPOCHS": 1,
    "SDA.SELF_SIMILARITY.START_EPOCH": 0,
}


def load(recipe: str, settings: dict | None = None):
    cfg = load_config(CONFIGS / f"{recipe}.yml", as_options(settings or {}))
    if is_ours(cfg):
        check_config(cfg)
    return cfg


def is_ours(cfg) -> bool:
    """Whether a recipe is the plugin's, not a plain fastreid one."""
    return cfg.MODEL.META_ARCHITECTURE != "Baseline"


@pytest.fixture(scope="session")
def miniatures(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("miniatures")
    miniature.write_all(root)
    miniature.write_crops(root)
    return root


@pytest.fixture
def use_datasets(monkeypatch):
    """A function that makes a folder fastreid's dataset root for the test."""

    def use(root: Path) -> None:
        monkeypatch.setenv("FASTREID_DATASETS", str(root))
        monkeypatch.setattr("fastreid.data.build._root", str(root))

    return use


@pytest.fixture
def configure_world():
    """`data.configure`, undone after the test."""
    yield data.configure
    data.configure(load_config(CONFIGS / "Base-mmt.yml"))


def test_every_task_has_its_recipes():
    expected = [
        *MMT_RECIPES,
        *VISDA_SOURCES,
        *VISDA_RECIPES,
        *UDA_RECIPES,
        *OPENUNREID_RECIPES,
        *USL_RECIPES,
        *OWN_RECIPES,
        *CAMERA_RECIPES,
        *SDA_RECIPES,
        *TRANSLATED_SOURCES,
    ]
    assert sorted(recipe for recipe in RECIPES if not recipe.startswith("synthetic/")) == sorted(expected)


@pytest.mark.parametrize("recipe", MMT_RECIPES)
def test_recipe_is_what_its_name_says(recipe):
    folder, name = recipe.split("/")
    task, _, variant = name.partition("_")
    source, target = (REGISTERED[part] for part in task.split("2"))
    cfg = load(recipe)
    assert f"logs/{recipe}" == cfg.OUTPUT_DIR
    assert (tuple(cfg.DATASETS.NAMES), tuple(cfg.DATASETS.TARGETS)) == ((source,), (target,))
    assert tuple(cfg.DATASETS.TESTS) == (TEST_SETS.get(target, target),)
    size = [256, 128] if task in PERSON_TASKS else [224, 224]
    assert size == cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST

    backbone = cfg.MODEL.BACKBONE
    assert (backbone.NAME, backbone.DEPTH, backbone.PRETRAIN) == ("build_resnet_backbone", "50x", True)
    assert backbone.WITH_IBN == backbone.STEM_RELU == (variant == "ibn")

    mmt = cfg.MMT
    shares = (mmt.SOFT_CE_WEIGHT, mmt.SOFT_TRI_WEIGHT)
    assert (mmt.NUM_PAIRS, mmt.EMA.ENABLED, shares) == (
        (2, True, (0.5, 0.8)) if folder == "mmt" else (1, False, (0, 0))
    )
    is_source = folder == "source"
    assert is_source == mmt.TARGET_BN
    assert is_source != cfg.INPUT.REA.ENABLED

    labels = cfg.PSEUDO_LABELS
    if is_source:
        assert labels.METHOD == "ground_truth"
        return
    assert f"../source/{task}{'_ibn' if variant == 'ibn' else ''}.yml" == mmt.SOURCE.CONFIG_FILE
    if variant == "dbscan":
        assert (labels.METHOD, labels.NORMALIZE, labels.OUTLIERS) == ("dbscan", True, "drop")
        assert (labels.K1, labels.K2, labels.K1_INCLUDES_SELF) == (20, 6, False)
        assert labels.JACCARD_WEIGHTS == "scaled"
        assert (labels.DBSCAN.EPS_RULE, labels.DBSCAN.MIN_SAMPLES) == ("rho", 4)
    else:
        assert (labels.METHOD, labels.NORMALIZE) == ("kmeans", False)


@pytest.mark.parametrize("recipe", [*VISDA_SOURCES, *VISDA_RECIPES])
def test_visda_recipe_is_the_published_one(recipe):
    folder, name = recipe.split("/")
    cfg = load(recipe)
    assert (tuple(cfg.DATASETS.NAMES), tuple(cfg.DATASETS.TARGETS)) == (("PersonX",), ("VisDA20",))
    backbone = cfg.MODEL.BACKBONE
    assert VISDA_BACKBONES[name.removeprefix("personx2visda20_")] == (
        backbone.NAME,
        backbone.DEPTH,
        backbone.WITH_IBN,
        backbone.LAST_STRIDE,
    )
    assert cfg.MODEL.HEADS.POOL_LAYER == "GeneralizedMeanPoolingP"
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [384, 128]
    assert cfg.MMT.IMAGES_PER_BN == 16
    is_source = folder == "source"
    assert (is_source, not is_source) == (cfg.INPUT.AUTOAUG.ENABLED, cfg.INPUT.REA.ENABLED)
    if is_source:
        assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.ITERS_PER_EPOCH, cfg.INPUT.AUTOAUG.PROB) == (120, 200, 1.0)
        return
    heads, mmt, labels = cfg.MODEL.HEADS, cfg.MMT, cfg.PSEUDO_LABELS
    classifier = {
        "resnest101": ("CosSoftmax", 30, 0.4),
        "densenet169_ibn": ("ArcMarginSoftmax", 30, 0.3),
    }.get(name.removeprefix("personx2visda20_"), ("ArcMarginSoftmax", 64, 0.35))
    assert classifier == (heads.CLS_LAYER, heads.SCALE, heads.MARGIN)
    assert (mmt.JOINT.ENABLED, mmt.JOINT.ROWS, mmt.DSBN.ENABLED) == (True, "random", True)
    assert (mmt.SOFT_CE_WEIGHT, mmt.TRIPLET_WEIGHT, mmt.MOCO.WEIGHT) == (0.5, 0, 0.1)
    assert (mmt.MOCO.TEMPERATURE, mmt.MOCO.QUEUE_SIZE, mmt.MOCO.DOMAINS) == (0.07, 12800, "target")
    assert (labels.METHOD, labels.K1, labels.DBSCAN.EPS) == ("dbscan", 20, 0.6)


@pytest.mark.parametrize("recipe", [*UDA_RECIPES, *OPENUNREID_RECIPES])
def test_joint_recipe_is_what_its_name_says(recipe):
    folder, task = recipe.split("/")
    source, target = (REGISTERED[part] for part in task.split("2"))
    cfg = load(recipe)
    assert f"logs/{recipe}" == cfg.OUTPUT_DIR
    assert (tuple(cfg.DATASETS.NAMES), tuple(cfg.DATASETS.TARGETS)) == ((source,), (target,))
    mmt = cfg.MMT
    assert mmt.JOINT.ENABLED
    assert mmt.DSBN.ENABLED
    if folder == "openunreid":
        assert (mmt.SOURCE.PRETRAIN, mmt.MOCO.WEIGHT, mmt.EMA.WARMUP) == (False, 0, False)
        assert (mmt.SOFT_CE_WEIGHT, mmt.TRIPLET_WEIGHT, mmt.SOFT_TRI_WEIGHT) == (0.5, 1, 0.8)
        assert (cfg.PSEUDO_LABELS.DBSCAN.EPS, cfg.PSEUDO_LABELS.K1) == (0.7, 30)
    else:
        assert (mmt.SOURCE.PRETRAIN, mmt.JOINT.ROWS, mmt.MOCO.WEIGHT) == (True, "pretrained", 0.1)


@pytest.mark.parametrize("recipe", USL_RECIPES)
def test_unsupervised_recipe_knows_no_source(recipe):
    cfg = load(recipe)
    assert tuple(cfg.DATASETS.NAMES) == ()
    assert tuple(cfg.DATASETS.TARGETS) == (REGISTERED[recipe.removeprefix("usl/")],)
    assert not cfg.MMT.SOURCE.PRETRAIN
    assert not cfg.MMT.JOINT.ENABLED


@pytest.mark.parametrize("recipe", OWN_RECIPES)
def test_recipe_for_own_crops_asks_for_nothing_but_them(recipe):
    cfg = load(recipe)
    assert f"logs/{recipe}" == cfg.OUTPUT_DIR
    assert (tuple(cfg.DATASETS.TARGETS), tuple(cfg.DATASETS.TESTS)) == (("folder:crops",), ())
    assert cfg.MMT.SELECTION.RULE == "stable"
    assert cfg.PSEUDO_LABELS.METHOD == "dbscan"
    assert not cfg.PSEUDO_LABELS.CAMERA_AWARE.ENABLED
    assert (tuple(cfg.DATASETS.NAMES) == ()) == (recipe == "own/folder_no_source")
    assert (recipe != "own/folder_no_source") == cfg.MMT.SOURCE.PRETRAIN


@pytest.mark.parametrize("recipe", CAMERA_RECIPES)
def test_camera_recipe_classifies_cameras_and_nothing_else(recipe):
    cfg = load(recipe)
    cameras = (f"{REGISTERED[recipe.removeprefix('camera/')]}Cameras",)
    assert tuple(cfg.DATASETS.NAMES) == tuple(cfg.DATASETS.TESTS) == cameras
    assert (cfg.MMT.CE_EPSILON, cfg.MMT.TRIPLET_WEIGHT, cfg.MMT.IMAGES_PER_BN) == (0, 0, 0)
    assert (cfg.DATALOADER.BATCHES, cfg.MODEL.HEADS.CLS_LAYER) == ("uniform", "Linear")
    if not recipe.startswith("camera/synth"):
        assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.ITERS_PER_EPOCH) == (120, 200)
        assert cfg.INPUT.REA.ENABLED


def test_published_post_processing():
    test = load_config(CONFIGS / "evaluate" / "visda20.yml").TEST
    rerank = test.RERANK
    assert (test.FLIP.ENABLED, test.CAMERA.WEIGHT, test.TOP_K) == (True, 0.1, 100)
    assert (rerank.ENABLED, rerank.K1, rerank.K2, rerank.LAMBDA, rerank.POWER) == (True, 30, 6, 0.3, 2)


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_adaptation_names_a_source_recipe_that_combines(recipe):
    path = CONFIGS / f"{recipe}.yml"
    cfg = load(recipe)
    if not is_ours(cfg) or cfg.PSEUDO_LABELS.METHOD == "ground_truth" or not cfg.MMT.SOURCE.PRETRAIN:
        assert cfg.MMT.SOURCE.CONFIG_FILE == ""
        return
    make = encoder_recipe if recipe in SDA_RECIPES else partial(source_config, seed=1)
    source = make(cfg, str(path))
    assert source.PSEUDO_LABELS.METHOD == "ground_truth"
    assert source.DATASETS == cfg.DATASETS
    # What the adaptation trains first is what the source recipe trains on its own.
    alone = load_config(path.parent / cfg.MMT.SOURCE.CONFIG_FILE, cfg.MMT.SOURCE.OPTS)
    for node in ("MODEL", "INPUT", "SOLVER", "MMT"):
        assert source[node] == alone[node], node


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe not in SDA_RECIPES])
def test_recipe_trains_a_step(recipe, miniatures, use_datasets, configure_world, tmp_path, monkeypatch):
    use_datasets(miniatures)
    # Up to 0.5 GB a checkpoint; no recipe changes anything about it.
    monkeypatch.setattr(torch, "save", lambda *args, **kwargs: None)
    settings = {**TINY, "OUTPUT_DIR": str(tmp_path)}
    settings["MODEL.BACKBONE.DEPTH"] = SMALL_DEPTH.get(load(recipe).MODEL.BACKBONE.NAME, "18x")
    if load(recipe).MMT.JOINT.ROWS == "pretrained":  # there is no source model here
        settings["MMT.JOINT.ROWS"] = "centroids"
    if recipe not in EVALUATED:
        settings["DATASETS.TESTS"] = ()
    cfg = load(recipe, settings)
    configure_world(cfg)
    for name in cfg.DATASETS.NAMES:
        write_translation(name)

    trainer = MMTTrainer(cfg) if is_ours(cfg) else DefaultTrainer(cfg)
    first_layer = next(trainer.model.parameters())
    before = first_layer.detach().clone()
    results = trainer.train()
    assert not torch.equal(first_layer, before)
    assert math.isfinite(trainer.storage.latest()["total_loss"][0])
    if recipe in EVALUATED:
        assert 0 < results["mAP"] <= 100
        assert {"teacher1/mAP", "teacher2/mAP"} <= results.keys()


@pytest.mark.parametrize("recipe", SDA_RECIPES)
def test_translation_recipe_trains_a_step(
    recipe, miniatures, use_datasets, configure_world, tmp_path, monkeypatch
):
    use_datasets(miniatures)
    monkeypatch.setattr(torch, "save", lambda *args, **kwargs: None)
    cfg = load(recipe, {**TINY_SDA, "OUTPUT_DIR": str(tmp_path)})
    configure_world(cfg)
    trainer = SDATrainer(cfg)  # with random encoders
    before = [p.detach().clone() for p in trainer.raw_model.generators.parameters()]
    trainer.train()
    assert not all(map(torch.equal, before, trainer.raw_model.generators.parameters()))
    relation = "loss_self_similarity" if recipe.endswith("spgan") else "loss_relation"
    assert math.isfinite(trainer.losses()[relation])
    assert (tmp_path / "sheets" / "epoch_0001.jpg").exists()


@pytest.mark.parametrize("name", ["personx2visda20", "personx2visda20_spgan"])
def test_sda_recipe_is_the_published_one(name):
    cfg = load(f"sda/{name}")
    sda, solver = cfg.SDA, cfg.SOLVER
    assert (tuple(cfg.DATASETS.NAMES), tuple(cfg.DATASETS.TARGETS)) == (("PersonX",), ("VisDA20",))
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [384, 128]
    assert ("spgan" if name.endswith("spgan") else "sda") == sda.METHOD
    assert (sda.GENERATOR.WIDTH, sda.GENERATOR.BLOCKS, sda.GENERATOR.RESIDUAL) == (64, 9, False)
    assert (sda.DISCRIMINATOR.WIDTH, sda.DISCRIMINATOR.LAYERS, sda.POOL_SIZE) == (64, 3, 50)
    assert (sda.CYCLE_WEIGHT, sda.IDENTITY_WEIGHT, sda.RELATION_WEIGHT) == (10, 5, 1)
    assert (sda.SELF_SIMILARITY.WEIGHT, sda.SELF_SIMILARITY.MARGIN) == (2, 2)
    assert (solver.BASE_LR, tuple(sda.BETAS)) == (2e-4, (0.5, 0.999))
    assert (solver.MAX_EPOCH, solver.ITERS_PER_EPOCH, sda.DECAY_EPOCHS) == (100, 200, 50)
    assert (solver.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE) == (32, 4)
    assert cfg.INPUT.FLIP.ENABLED
    assert not cfg.INPUT.REA.ENABLED


@pytest.mark.parametrize("recipe", [*TRANSLATED_SOURCES, "synthetic/source_sda", "synthetic/source_spgan"])
def test_a_translated_source_is_all_that_changes(recipe):
    cfg = load(recipe)
    (name,) = cfg.DATASETS.NAMES
    raw = {"PersonX": "source/personx2visda20_resnet50_ibn", "Market1501": "source/market2duke"}
    original, method = re.fullmatch(r"(\w+?)(SDA|SPGAN)", name).groups()
    changed = {"DATASETS.NAMES": (name,), "OUTPUT_DIR": cfg.OUTPUT_DIR}
    expected = load(raw.get(original, "synthetic/source"), changed)
    assert cfg == expected
    assert recipe.endswith(method.lower())


def write_translation(name: str) -> None:
    """Copies stand for the images of a translated set; nothing is done for others."""
    match = re.fullmatch(r"(\w+?)(SDA|SPGAN)", name)
    if match is None:
        return
    items = build_dataset(match[1]).train
    folder = translated_folder(items, match[2].lower())
    for path, *_ in items:
        copy = folder / Path(path).relative_to(split_folder(items))
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


@pytest.mark.parametrize(
    ("recipe", "missing"),
    [
        ("mmt/market2duke", "Market1501"),
        ("mmt/duke2market", "DukeMTMC"),
        ("mmt/msmt2market", "MSMT17"),
        ("mmt/vehicleid2veri", "VehicleID"),
        ("mmt/vehicleid2veri", "VeRi"),
        ("mmt/vehicleid2veriwild", "VeRiWild"),
        ("mmt_plus/personx2visda20_resnet50_ibn", "PersonX"),
        ("mmt_plus/personx2visda20_resnet50_ibn", "VisDA20"),
    ],
)
def test_missing_folder_ends_in_one_sentence(recipe, missing, use_datasets, tmp_path, monkeypatch):
    root = tmp_path / "datasets"
    for name, write in miniature.WRITERS.items():
        if name != missing:
            write(root)
    use_datasets(root)
    # It would give fastreid's logger handlers that outlive the test.
    monkeypatch.setattr("fastreid.engine.default_setup", lambda cfg, args: None)
    options = as_options({**TINY, "OUTPUT_DIR": tmp_path / "run"})
    command = ["train_net.py", "--config-file", CONFIGS / f"{recipe}.yml", *options]
    monkeypatch.setattr("sys.argv", [str(word) for word in command])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(REPOSITORY / "tools" / "train_net.py"), run_name="__main__")
    message = str(stop.value)
    assert all(part in message for part in (missing, str(root), "FASTREID_DATASETS"))
    assert "\n" not in message


def one_at_a_time() -> list[tuple[str, str]]:
    """The cells of the table "One at a time" of docs/mmt_plus.md: recipe and overrides."""
    section = (REPOSITORY / "docs" / "mmt_plus.md").read_text().split("## One at a time")[1].split("\n## ")[0]
    rows = [line.split("|")[2:4] for line in section.splitlines() if line.startswith("| ") and "`" in line]
    recipes = ("plaza2metro_mmt", "plaza2metro_mmt_plus")
    return [
        (recipe, cell.strip().strip("`")) for row in rows for recipe, cell in zip(recipes, row, strict=True)
    ]


@pytest.mark.parametrize(("recipe", "overrides"), one_at_a_time())
def test_documented_overrides_change_one_thing(recipe, overrides):
    before = load(f"synthetic/{recipe}")
    after = load_config(CONFIGS / "synthetic" / f"{recipe}.yml", overrides.split())
    check_config(after)
    assert after.MMT != before.MMT or after.MODEL.HEADS != before.MODEL.HEADS


def test_the_one_at_a_time_table_is_complete():
    assert len(one_at_a_time()) == 8
