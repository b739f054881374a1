"""What a run is, in the words of a results table; written into its results.json."""

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path

import yaml
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.utils import comm

from mmt_plugin.config import source_batch_size
from mmt_plugin.config.yaml_file import parse_mapping

from .recipe import FREE_KEYS, flatten, in_one_form
from .run import Run, is_run

# What differs between runs of one recipe with different seeds. Source models are compared by their recipes.
SEED_KEYS = (*FREE_KEYS, "SEED", "MMT.SOURCE.SEEDS", "MMT.WEIGHTS", "MODEL.WEIGHTS", "MMT.SOURCE.CONFIG_FILE")
# Files that a run starts from: what is in them counts, not where they lie.
FILE_KEYS = ("MODEL.BACKBONE.PRETRAIN_PATH", "SDA.SOURCE_ENCODER", "SDA.TARGET_ENCODER")
# Translations of a source set bear its name with one of these.
TRANSLATIONS = ("SDA", "SPGAN")
DEPTHS = {"build_resnet_backbone": "ResNet", "build_resnest_backbone": "ResNeSt"}
DEPTHS |= {"build_resnext_backbone": "ResNeXt", "build_densenet_backbone": "DenseNet"}
DEPTHS |= {"build_osnet_backbone": "OSNet"}


def images_per_bn(cfg: CfgNode) -> int:
    """Images that share BN statistics; with domain-specific BN, target images.

    Each process normalises its share of the batch on its own, in chunks if MMT.IMAGES_PER_BN is less than
    that; syncBN layers of several processes join their shares.
    """
    chunk, batch = cfg.MMT.IMAGES_PER_BN, cfg.SOLVER.IMS_PER_BATCH
    if cfg.MMT.JOINT.ENABLED and not cfg.MMT.DSBN.ENABLED:
        batch += source_batch_size(cfg)
    share = batch // comm.get_world_size()
    if 0 < chunk <= share:
        return share // (share // chunk)
    if "syncBN" in (cfg.MODEL.BACKBONE.NORM, cfg.MODEL.HEADS.NORM):
        return min(batch, chunk // share * share) if chunk else batch
    return share


def describe_run(cfg: CfgNode, changes: Sequence[dict] = ()) -> dict:
    """A run's task, method, network, schedule and seed, and a digest that runs of one recipe share, whatever
    their seeds.

    Args:
        cfg: of the run.
        changes: of the recipe while the run was trained; each makes another recipe.
    """
    selection = cfg.MMT.SELECTION
    rules = {
        "last": "last epoch",
        "best": f"best epoch by labels of {selection.DATASET}",
        "stable": "best epoch by label-free score",
        "guarded": "best epoch or start by label-free guard",
    }
    return {
        "source": [_untranslated(name)[0] for name in cfg.DATASETS.NAMES],
        "target": [_untranslated(name)[0] for name in cfg.DATASETS.TARGETS],
        "tests": list(cfg.DATASETS.TESTS),
        "method": method_name(cfg),
        "backbone": backbone_name(cfg.MODEL.BACKBONE),
        "epochs": cfg.SOLVER.MAX_EPOCH,
        "iterations_per_epoch": cfg.SOLVER.ITERS_PER_EPOCH,
        "images_per_bn": images_per_bn(cfg),
        "selection": rules[selection.RULE],
        "seed": cfg.SEED,
        "recipe": recipe_digest(cfg, changes),
    }


def describe_entry(runs: Sequence[CfgNode], camera: CfgNode | None, tests: Sequence[str]) -> dict:
    """The same of runs that are evaluated together by tools/evaluate.py.

    Args:
        runs: their configurations, with the TEST keys of the evaluation.
        camera: that of the camera model, or None.
        tests: the labelled test sets.
    """
    parts = [describe_run(cfg) for cfg in runs]
    test = runs[0].TEST
    added = {"camera term": camera is not None, "re-ranking": test.RERANK.ENABLED}
    added[f"first {test.TOP_K} images"] = test.TOP_K > 0
    added[f"mean of {test.GALLERY_DRAWS} random galleries"] = test.GALLERY_DRAWS > 0
    recipes = [part["recipe"] for part in parts] + ([recipe_digest(camera)] if camera else [])
    return {
        **parts[0],
        "tests": list(tests),
        "method": ", ".join([_joined(parts, "method"), *(name for name, on in added.items() if on)]),
        "backbone": " + ".join(part["backbone"] for part in parts),
        "epochs": _joined(parts, "epochs"),
        "iterations_per_epoch": _joined(parts, "iterations_per_epoch"),
        "images_per_bn": None,  # a configuration does not tell how many processes there were
        "selection": _joined(parts, "selection"),
        "seed": _joined(parts, "seed"),
        "recipe": hashlib.sha256(" ".join(recipes).encode()).hexdigest()[:16],
    }


def _joined(parts: Sequence[dict], key: str) -> str:
    """The different values of a key, in order."""
    return " + ".join(dict.fromkeys(str(part[key]) for part in parts))


def method_name(cfg: CfgNode) -> str:
    """What papers call it: direct transfer, clustering baseline, MMT, MMT+, with how it labels."""
    mmt, labels = cfg.MMT, cfg.PSEUDO_LABELS
    translated = ["".join(_untranslated(name)) for name in cfg.DATASETS.NAMES if _untranslated(name)[1]]
    if labels.METHOD == "ground_truth":
        name = "direct transfer" if cfg.DATASETS.TARGETS else "supervised"
        return ", ".join([name, *translated])
    if mmt.SOFT_CE_WEIGHT == mmt.SOFT_TRI_WEIGHT == 0:
        name = "clustering baseline"
    elif mmt.JOINT.ENABLED and mmt.MOCO.WEIGHT > 0:
        name = "MMT+"
    else:
        name = "MMT"
    known = {"kmeans": f"k-means {labels.KMEANS.NUM_CLUSTERS}", "dbscan": "DBSCAN"}
    clusters = known.get(labels.METHOD, labels.METHOD)
    joint = ["source images in the batch"] if mmt.JOINT.ENABLED and name != "MMT+" else []
    single = ["one stage"] if cfg.DATASETS.NAMES and not mmt.SOURCE.PRETRAIN and not mmt.WEIGHTS else []
    return ", ".join([name, clusters, *joint, *single, *translated])


def backbone_name(backbone: CfgNode) -> str:
    """For instance ResNet-50-IBN; of a backbone that has no depths or no IBN, these are left out."""
    family = DEPTHS.get(backbone.NAME, backbone.NAME.removeprefix("build_").removesuffix("_backbone"))
    keys = _keys_read_by(backbone.NAME)
    depth = f"-{backbone.DEPTH.removesuffix('x')}" if "DEPTH" in keys else ""
    return f"{family}{depth}{'-IBN' if backbone.WITH_IBN and 'WITH_IBN' in keys else ''}"


def _keys_read_by(builder: str) -> set[str]:
    """The attributes that a builder's code asks for, keys of MODEL.BACKBONE among them; none of one that
    is not registered in this process, as a user's own may be.
    """
    if builder in DEPTHS:
        return {"DEPTH", "WITH_IBN"}
    known = BACKBONE_REGISTRY._obj_map.get(builder)
    code = getattr(inspect.unwrap(known), "__code__", None) if known is not None else None
    return set(code.co_names) if code is not None else set()


def recipe_digest(cfg: CfgNode, changes: Sequence[dict] = ()) -> str:
    """Equal for runs that differ in nothing but their seeds and those of their source models."""
    digest = _digest(cfg.dump(), cfg.MMT.WEIGHTS)
    if changes:
        digest = hashlib.sha256(json.dumps([digest, *changes]).encode()).hexdigest()[:16]
    return digest


def _digest(config: str, weights: Sequence[str]) -> str:
    keys = in_one_form(flatten(yaml.safe_load(config)))
    recipe = {key: value for key, value in keys.items() if key not in SEED_KEYS}
    for key in FILE_KEYS:
        recipe[key] = recipe.get(key) and _source_digest(Path(recipe[key]))
    recipe["sources"] = [_source_digest(Path(path)) for path in weights]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _source_digest(weights: Path) -> str:
    """The recipe of a source model that a run of this plugin trained; of any other file what is in it, or
    without the file its name.
    """
    if not is_run(weights.parent):
        if not weights.is_file():
            return weights.name
        return hashlib.sha256(weights.read_bytes()).hexdigest()
    text = Run(weights.parent).config_text
    return _digest(text, flatten(parse_mapping(text, weights.parent)).get("MMT.WEIGHTS") or ())


def _untranslated(name: str) -> tuple[str, str]:
    """A data set's name without and with what translated it: PersonXSDA -> (PersonX, SDA). Which of its
    images were trained on makes no other task: MSMT17TrainVal is MSMT17.
    """
    suffix = next((each for each in TRANSLATIONS if name.endswith(each)), "")
    return name.removesuffix(suffix).removesuffix("TrainVal"), suffix
