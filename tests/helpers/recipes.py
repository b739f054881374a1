"""The shipped recipes by family, and how tests read them."""

from tiny import REPOSITORY, as_options

from mmt_plugin.config import check_config, load_config

CONFIGS = REPOSITORY / "configs"
RECIPES = sorted(
    path.relative_to(CONFIGS).with_suffix("").as_posix()
    for path in CONFIGS.rglob("*.yml")
    if not path.name.startswith("Base-") and path.parent.name not in ("evaluate", "ablation")
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
MEMORY_RECIPES = [
    f"{folder}/{name}"
    for folder, names in (
        ("cluster_contrast", ("market", "duke", "msmt", "market_64", "duke_64", "msmt_64")),
        ("spcl", ("market", "duke", "msmt", "market2duke", "duke2market")),
    )
    for name in names
]
OWN_RECIPES = ["own/folder", "own/folder_no_source", "own/synthetic"]
SDA_METHODS = {"personx2visda20": ("", "_spgan"), "market2duke": ("",), "plaza2metro": ("", "_spgan")}
SDA_RECIPES = [f"sda/{name}{method}" for name, methods in SDA_METHODS.items() for method in methods]
# Source pre-training on translated images.
TRANSLATED_SOURCES = ["source/personx_spgan", "source/market_sda"]
RAW_SOURCES = ["source/personx_raw"]
REGISTERED = {
    "market": "Market1501",
    "duke": "DukeMTMC",
    "msmt": "MSMT17TrainVal",
    "vehicleid": "VehicleID",
    "veri": "VeRi",
    "veriwild": "VeRiWild",
    "personx": "PersonX",
    "visda20": "VisDA20",
    "synthmetro": "SynthMetro",
    "synthplaza": "SynthPlaza",
}


def load(recipe: str, settings: dict | None = None):
    cfg = load_config(CONFIGS / f"{recipe}.yml", as_options(settings or {}))
    if is_ours(cfg):
        check_config(cfg)
    return cfg


def is_ours(cfg) -> bool:
    """Whether a recipe is the plugin's, not a plain fastreid one."""
    return cfg.MODEL.META_ARCHITECTURE != "Baseline"
