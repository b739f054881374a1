"""What runs say of themselves, and which of them count as one recipe."""

import json
from pathlib import Path

import pytest
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from tiny import REPOSITORY

from mmt_plugin.config import load_config
from mmt_plugin.engine.pipeline import train
from mmt_plugin.runs.description import backbone_name, describe_run, recipe_digest
from mmt_plugin.runs.record import write_results

CONFIGS = REPOSITORY / "configs"


@pytest.mark.parametrize(
    ("recipe", "method", "backbone"),
    [
        ("source/market2duke", "direct transfer", "ResNet-50"),
        ("baseline/market2duke_ibn", "clustering baseline, k-means 700", "ResNet-50-IBN"),
        ("mmt/market2duke_dbscan", "MMT, DBSCAN", "ResNet-50"),
        ("mmt_plus/personx2visda20_densenet169_ibn", "MMT+, DBSCAN", "DenseNet-169-IBN"),
        ("openunreid/duke2market", "MMT, DBSCAN, source images in the batch, one stage", "ResNet-50"),
        ("usl/market", "MMT, DBSCAN", "ResNet-50"),
        ("camera/market", "supervised", "ResNet-50"),
    ],
)
def test_methods_and_networks_have_the_names_of_the_papers(recipe, method, backbone):
    run = describe_run(load_config(CONFIGS / f"{recipe}.yml"))
    assert (run["method"], run["backbone"]) == (method, backbone)


def test_translated_sources_are_the_same_task_by_another_method():
    options = ["DATASETS.NAMES", ("PersonXSDA",)]
    run = describe_run(load_config(CONFIGS / "source" / "personx2visda20_resnet50_ibn.yml", options))
    assert (run["source"], run["target"]) == (["PersonX"], ["VisDA20"])
    assert run["method"] == "direct transfer, PersonXSDA"


def test_selection_by_labels_is_told(tiny_config):
    assert describe_run(tiny_config())["selection"] == "last epoch"
    chosen = tiny_config(MMT__SELECTION__RULE="best", MMT__SELECTION__DATASET="SynthMetro")
    assert describe_run(chosen)["selection"] == "best epoch by labels of SynthMetro"


def test_seeds_do_not_make_another_recipe_and_everything_else_does(tiny_config):
    digest = recipe_digest(tiny_config())
    same = {"SEED": 7, "MMT__SOURCE__SEEDS": (3, 4), "OUTPUT_DIR": "elsewhere", "DATALOADER__NUM_WORKERS": 2}
    assert recipe_digest(tiny_config(**same)) == digest
    others = ({"SOLVER__BASE_LR": 0.1}, {"MMT__WEIGHTS": ("a.pth", "b.pth")}, {"TEST__FLIP__ENABLED": True})
    for change in others:
        assert recipe_digest(tiny_config(**change)) != digest


def test_source_models_count_by_their_recipes(tiny_config, tmp_path):
    """Two source models of other seeds make the same recipe; one of another learning rate does not."""

    def started_from(folder, **overrides):
        source = tiny_config("source", OUTPUT_DIR=str(tmp_path / folder), **overrides)
        Path(source.OUTPUT_DIR).mkdir()
        Path(source.OUTPUT_DIR, "config.yaml").write_text(source.dump())
        return recipe_digest(tiny_config(MMT__WEIGHTS=(str(tmp_path / folder / "model_final.pth"),)))

    first = started_from("one", SEED=1)
    assert started_from("two", SEED=2) == first
    assert started_from("three", SEED=1, SOLVER__BASE_LR=0.1) != first


def test_finished_runs_record_what_they_are(tiny_config):
    cfg = tiny_config("source", PSEUDO_LABELS__METHOD="ground_truth", SOLVER__WARMUP_ITERS=0)
    train(cfg, resume=False)
    record = json.loads(Path(cfg.OUTPUT_DIR, "results.json").read_text())
    told = {"metrics", "clusters", "label_free", "selected_epoch", "test_sets", "minutes", "selection", "run"}
    assert told == record.keys()
    run = record["run"]
    assert (run["source"], run["target"], run["tests"]) == (["SynthPlaza"], ["SynthMetro"], ["SynthMetro"])
    assert (run["epochs"], run["iterations_per_epoch"], run["images_per_bn"], run["seed"]) == (2, 2, 8, 1)
    assert run["recipe"] == recipe_digest(cfg)
    write_results(cfg, "evaluation.json", {"mAP": 1.0}, 0.0)
    assert json.loads(Path(cfg.OUTPUT_DIR, "evaluation.json").read_text())["run"] == run


def test_where_files_lie_does_not_make_another_recipe_and_what_is_in_them_does(tiny_config, tmp_path):
    def digest(folder, content, **keys):
        path = tmp_path / folder / "weights.pth"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        targets = (f"folder:{tmp_path / folder}/crops",)
        return recipe_digest(
            tiny_config(
                DATASETS__TARGETS=targets,
                DATALOADER__CACHE=str(tmp_path / folder),
                MODEL__BACKBONE__PRETRAIN_PATH=str(path),
                MMT__WEIGHTS=(str(path), str(path)),
                **keys,
            )
        )

    assert digest("a", b"1") == digest("b", b"1") != digest("c", b"2")
    assert digest("a", b"1", MMT__SOURCE__OPTS=["DATALOADER.NUM_WORKERS", 3]) == digest("b", b"1")
    assert digest("a", b"1", MMT__SOURCE__OPTS=["SOLVER.MAX_EPOCH", 3]) != digest("b", b"1")
    assert recipe_digest(tiny_config()) != recipe_digest(tiny_config(), [{"change": "a"}])


def test_own_backbones_have_their_own_names(monkeypatch):
    def build_mine_backbone(cfg):
        return None

    def build_deep_backbone(cfg):
        return cfg.MODEL.BACKBONE.DEPTH

    cfg = load_config(REPOSITORY / "configs/synthetic/source.yml")
    for builder in (build_mine_backbone, build_deep_backbone):
        monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, builder.__name__, builder)
    named = {}
    for name in ("mine", "deep", "unknown", "mobilenetv2"):
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = f"build_{name}_backbone", "1.0x"
        named[name] = backbone_name(cfg.MODEL.BACKBONE)
    assert named == {
        "mine": "mine",
        "deep": "deep-1.0",
        "unknown": "unknown",
        "mobilenetv2": "mobilenetv2-1.0",
    }
