"""Every shipped recipe builds, and trains a step on miniatures of its data sets."""

import math
import re
import shutil
from pathlib import Path

import miniature
import pytest
import torch
from fastreid.engine import DefaultTrainer
from recipes import CONFIGS, RECIPES, SDA_RECIPES, is_ours, load
from tiny import as_options

from mmt_plugin import data
from mmt_plugin.config import load_config
from mmt_plugin.data.datasets.translated import split_folder, translated_folder
from mmt_plugin.data.items import build_dataset
from mmt_plugin.engine import MMTTrainer
from mmt_plugin.sda.translation_trainer import SDATrainer

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
    "MMT.MOCO.QUEUE_EPOCHS": 0.0,
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
def test_missing_folder_ends_in_one_sentence(recipe, missing, use_datasets, tmp_path, command):
    root = tmp_path / "datasets"
    for name, write in miniature.WRITERS.items():
        if name != missing:
            write(root)
    use_datasets(root)
    options = as_options({**TINY, "OUTPUT_DIR": tmp_path / "run"})
    ended = command("train", "--config-file", CONFIGS / f"{recipe}.yml", *options)
    assert ended.status == 2
    message = ended.err.strip()
    assert all(part in message for part in (missing, str(root), "FASTREID_DATASETS"))
    assert "\n" not in message
