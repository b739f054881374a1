"""Every shipped recipe says what its name says, and finds its source recipe."""

import re
from functools import partial

import pytest
from recipes import (
    CAMERA_RECIPES,
    CONFIGS,
    MEMORY_RECIPES,
    MMT_RECIPES,
    OPENUNREID_RECIPES,
    OWN_RECIPES,
    PERSON_TASKS,
    RAW_SOURCES,
    RECIPES,
    REGISTERED,
    SDA_RECIPES,
    TRANSLATED_SOURCES,
    UDA_RECIPES,
    USL_RECIPES,
    VISDA_BACKBONES,
    VISDA_RECIPES,
    VISDA_SOURCES,
    is_ours,
    load,
)
from tiny import REPOSITORY

from mmt_plugin.config import check_config, load_config
from mmt_plugin.engine.pipeline import source_config
from mmt_plugin.modeling.memory import queue_size
from mmt_plugin.sda.phases import encoder_recipe

TEST_SETS = {
    "VeRiWild": "SmallVeRiWild",
    "MSMT17TrainVal": "MSMT17",
}  # where it is not the training set's own


def test_every_task_has_its_recipes():
    expected = [
        *MMT_RECIPES,
        *VISDA_SOURCES,
        *VISDA_RECIPES,
        *UDA_RECIPES,
        *OPENUNREID_RECIPES,
        *USL_RECIPES,
        *MEMORY_RECIPES,
        *OWN_RECIPES,
        *CAMERA_RECIPES,
        *SDA_RECIPES,
        *TRANSLATED_SOURCES,
        *RAW_SOURCES,
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
        assert (labels.METHOD, labels.NORMALIZE, labels.KMEANS.NUM_RESTARTS) == ("kmeans", False, 10)


@pytest.mark.parametrize("recipe", [*VISDA_SOURCES, *VISDA_RECIPES])
def test_visda_recipe_is_the_published_one(recipe):
    folder, name = recipe.split("/")
    cfg = load(recipe)
    names = ("PersonXSDA",) if folder == "source" else ("PersonX",)
    assert (tuple(cfg.DATASETS.NAMES), tuple(cfg.DATASETS.TARGETS)) == (names, ("VisDA20",))
    if folder == "mmt_plus":
        assert list(cfg.MMT.SOURCE.OPTS) == ["DATASETS.NAMES", ["PersonXSDA"]]
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
    # The published script computes in float16, in which Adam's moments outlive new labels.
    assert (cfg.SOLVER.AMP.ENABLED, mmt.RESET_OPTIMIZER) == (True, False)


@pytest.mark.parametrize(
    ("recipe", "changes", "keys"),
    [
        ("mmt_plus/personx2visda20_resnest50", [], 64 * 200),
        ("mmt_plus/market2duke", [], 64 * 400),
        ("mmt_plus/vehicleid2veri", [], 64 * 800),
        ("mmt_plus/market2duke", ["SOLVER.ITERS_PER_EPOCH", 800, "SOLVER.IMS_PER_BATCH", 32], 32 * 800),
        ("mmt_plus/market2duke", ["MMT.MOCO.QUEUE_EPOCHS", 0.5], 64 * 200),
        ("mmt_plus/market2duke", ["MMT.MOCO.QUEUE_EPOCHS", 0.0, "MMT.MOCO.QUEUE_SIZE", 4096], 4096),
        ("synthetic/plaza2metro_mmt_plus", [], 32 * 50),
    ],
)
def test_a_queue_holds_the_target_images_of_an_epoch(recipe, changes, keys):
    """The published rule: batch x iterations x moco_neg, which is 1."""
    cfg = load_config(CONFIGS / f"{recipe}.yml", changes)
    check_config(cfg)
    assert queue_size(cfg) == keys


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
        assert mmt.TRIPLET_GRADIENT == "anchor"
        assert (mmt.SOFT_CE_WEIGHT, mmt.TRIPLET_WEIGHT, mmt.SOFT_TRI_WEIGHT) == (0.5, 1, 0.8)
        assert (cfg.PSEUDO_LABELS.DBSCAN.EPS, cfg.PSEUDO_LABELS.K1) == (0.7, 30)
    else:
        assert (mmt.SOURCE.PRETRAIN, mmt.JOINT.ROWS, mmt.MOCO.WEIGHT) == (True, "pretrained", 0.1)


@pytest.mark.parametrize("recipe", MEMORY_RECIPES)
def test_memory_recipe_is_the_published_one(recipe):
    folder, name = recipe.split("/")
    task = name.removesuffix("_64")
    *sources, target = (REGISTERED[part] for part in task.split("2"))
    cfg = load(recipe)
    assert f"logs/{recipe}" == cfg.OUTPUT_DIR
    assert (tuple(cfg.DATASETS.NAMES), tuple(cfg.DATASETS.TARGETS)) == (tuple(sources), (target,))
    mmt, labels, solver = cfg.MMT, cfg.PSEUDO_LABELS, cfg.SOLVER
    assert (mmt.NUM_PAIRS, mmt.EMA.ENABLED, mmt.SOURCE.PRETRAIN) == (1, False, False)
    assert (mmt.TRIPLET_WEIGHT, mmt.CE_EPSILON, mmt.MEMORY.TEMPERATURE) == (0, 0, 0.05)
    assert (solver.MAX_EPOCH, solver.BASE_LR, list(solver.STEPS)) == (50, 0.00035, [20, 40])
    assert (labels.METHOD, labels.K1, labels.K2) == ("dbscan", 30, 6)
    assert (0.7 if recipe.startswith("cluster_contrast/msmt") else 0.6) == labels.DBSCAN.EPS
    batch = (solver.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE, solver.ITERS_PER_EPOCH)
    if folder == "spcl":
        assert (mmt.CLASSIFIER, mmt.MEMORY.MOMENTUM, batch) == ("hybrid", 0.2, (64, 4, 400))
        assert (labels.OUTLIERS, labels.RELIABILITY.ENABLED) == ("singletons", True)
        assert bool(sources) == mmt.JOINT.ENABLED == mmt.DSBN.ENABLED
    else:
        assert (mmt.CLASSIFIER, mmt.MEMORY.MOMENTUM) == ("memory", 0.1)
        assert batch == ((64, 4, 800) if name.endswith("_64") else (256, 16, 200))
        assert cfg.MODEL.HEADS.POOL_LAYER == "GeneralizedMeanPoolingP"


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
    assert cfg.MMT.SELECTION.RULE == "guarded"
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
    shared = cfg.clone()
    shared.merge_from_list(cfg.MMT.SOURCE.OPTS)
    assert source.DATASETS == shared.DATASETS
    # What the adaptation trains first is what the source recipe trains on its own.
    alone = load_config(path.parent / cfg.MMT.SOURCE.CONFIG_FILE, cfg.MMT.SOURCE.OPTS)
    for node in ("MODEL", "INPUT", "SOLVER", "MMT"):
        assert source[node] == alone[node], node


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


@pytest.mark.parametrize(
    "recipe",
    [
        *TRANSLATED_SOURCES,
        "source/personx2visda20_resnet50_ibn",
        "synthetic/source_sda",
        "synthetic/source_spgan",
    ],
)
def test_a_translated_source_is_all_that_changes(recipe):
    cfg = load(recipe)
    (name,) = cfg.DATASETS.NAMES
    raw = {"PersonX": "source/personx_raw", "Market1501": "source/market2duke"}
    original, method = re.fullmatch(r"(\w+?)(SDA|SPGAN)", name).groups()
    changed = {"DATASETS.NAMES": (name,), "OUTPUT_DIR": cfg.OUTPUT_DIR}
    expected = load(raw.get(original, "synthetic/source"), changed)
    assert cfg == expected
    assert recipe.endswith(method.lower()) or recipe == "source/personx2visda20_resnet50_ibn"


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
