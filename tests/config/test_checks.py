"""Combinations that cannot train are refused with the key's name."""

import pytest
import yaml

from mmt_plugin.config import ConfigError, check_config, load_config


def test_shipped_combination_passes(tiny_config):
    check_config(tiny_config())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MMT__NUM_PAIRS": 0}, r"MMT\.NUM_PAIRS is 0"),
        ({"MMT__SOFT_CE_WEIGHT": 1.5}, r"MMT\.SOFT_CE_WEIGHT is 1\.5"),
        ({"MMT__SOFT_TRI_WEIGHT": -0.5}, r"MMT\.SOFT_TRI_WEIGHT is -0\.5"),
        ({"MMT__EMA__ALPHA": 1.0}, r"MMT\.EMA\.ALPHA is 1\.0"),
        ({"MMT__CE_EPSILON": 1.0}, r"MMT\.CE_EPSILON is 1\.0"),
        ({"MODEL__HEADS__DROPOUT": 1.0}, r"MODEL\.HEADS\.DROPOUT is 1\.0"),
        ({"MMT__NUM_PAIRS": 1, "MMT__EMA__ENABLED": False}, "nobody can give soft labels"),
        ({"SOLVER__IMS_PER_BATCH": 9}, r"9, not a multiple of DATALOADER\.NUM_INSTANCE, which is 2"),
        ({"DATALOADER__NUM_INSTANCE": 0}, r"DATALOADER\.NUM_INSTANCE, which is 0"),
        ({"DATALOADER__NUM_INSTANCE": 8}, "no negatives"),
        ({"SOLVER__ITERS_PER_EPOCH": -1}, r"SOLVER\.ITERS_PER_EPOCH is -1"),
        ({"SOLVER__MAX_EPOCH": -1}, r"SOLVER\.MAX_EPOCH is -1; it must be at least 1"),
        ({"SOLVER__MAX_EPOCH": 0}, r"SOLVER\.MAX_EPOCH is 0; it must be at least 1"),
        ({"SOLVER__OPT": "adam"}, r"SOLVER\.OPT is 'adam'; choose one of ASGD, .*Adam, AdamW"),
        ({"SOLVER__OPT": "LBFGS"}, r"SOLVER\.OPT is 'LBFGS'; choose one of"),
        ({"SOLVER__SCHED": "WarmupMultiStepLR"}, r"choose one of MultiStepLR, CosineAnnealingLR"),
        ({"SOLVER__WARMUP_METHOD": "slow"}, r"SOLVER\.WARMUP_METHOD is 'slow'; choose one of linear"),
        ({"SOLVER__BASE_LR": 0.0}, r"SOLVER\.BASE_LR is 0\.0; it must be positive"),
        ({"SOLVER__WARMUP_EPOCHS": 1.0, "SOLVER__WARMUP_ITERS": 5}, "both say how long the warm-up is"),
        (
            {"SOLVER__WARMUP_STEP": "before_epoch", "SOLVER__WARMUP_ITERS": 5},
            r"give the length in SOLVER\.WARMUP_EPOCHS",
        ),
        ({"MODEL__FREEZE_LAYERS": ["backbone"]}, r"SOLVER\.FREEZE_ITERS is 0: .*for how many iterations"),
        ({"SOLVER__FREEZE_ITERS": 5}, r"MODEL\.FREEZE_LAYERS is \[\]"),
        ({"PSEUDO_LABELS__METHOD": "magic"}, r"PSEUDO_LABELS\.METHOD is 'magic'; choose one of dbscan"),
        ({"PSEUDO_LABELS__OUTLIERS": "keep"}, r"PSEUDO_LABELS\.OUTLIERS is 'keep'; choose one of drop"),
        ({"PSEUDO_LABELS__K1": 0}, r"PSEUDO_LABELS\.K1 is 0; it must be at least 1"),
        ({"PSEUDO_LABELS__K2": 30}, r"PSEUDO_LABELS\.K2 is 30, more than PSEUDO_LABELS\.K1"),
        ({"PSEUDO_LABELS__DBSCAN__EPS": 1.0}, r"PSEUDO_LABELS\.DBSCAN\.EPS is 1\.0"),
        ({"PSEUDO_LABELS__DBSCAN__RHO": 0.0}, r"PSEUDO_LABELS\.DBSCAN\.RHO is 0\.0"),
        ({"DATASETS__TARGETS": ()}, r"DATASETS\.TARGETS is empty"),
        ({"MMT__WEIGHTS": ("a.pth",)}, "names 1 checkpoints for 2 pairs"),
        ({"MMT__WEIGHTS": ("a.pth", "a.pth")}, "same checkpoint twice"),
        ({"MMT__SOURCE__CONFIG_FILE": ""}, r"set MMT\.SOURCE\.CONFIG_FILE"),
        ({"MMT__SOURCE__SEEDS": (1, 1)}, "equal seeds"),
        ({"MMT__SELECTION__RULE": "luck"}, r"MMT\.SELECTION\.RULE is 'luck'"),
        ({"MMT__SELECTION__RULE": "best"}, r"needs a labelled MMT\.SELECTION\.DATASET"),
        ({"INPUT__REA__VARIANT": "none"}, r"INPUT\.REA\.VARIANT is 'none'"),
        ({"INPUT__AUTOAUG__VARIANT": "none"}, r"INPUT\.AUTOAUG\.VARIANT is 'none'"),
        ({"MMT__DSBN__ENABLED": True}, r"MMT\.DSBN\.ENABLED needs images of both domains"),
        ({"MMT__IMAGES_PER_BN": 1}, r"MMT\.IMAGES_PER_BN is 1"),
        ({"MMT__IMAGES_PER_BN": 3}, r"SOLVER\.IMS_PER_BATCH is 8, which cannot be cut into BN groups of 3"),
        ({"MMT__EMA__BN_STATISTICS": "none"}, r"MMT\.EMA\.BN_STATISTICS is 'none'"),
        ({"MMT__TRIPLET_WEIGHT": -1.0}, r"MMT\.TRIPLET_WEIGHT is -1\.0"),
        ({"MMT__MOCO__WEIGHT": -1.0}, r"MMT\.MOCO\.WEIGHT is -1\.0"),
        ({"MMT__MOCO__TEMPERATURE": 0.0}, r"MMT\.MOCO\.TEMPERATURE is 0\.0"),
        ({"MMT__MOCO__QUEUE_SIZE": 0}, r"MMT\.MOCO\.QUEUE_SIZE is 0"),
        ({"MMT__MOCO__QUEUE_EPOCHS": 1.0, "MMT__MOCO__QUEUE_SIZE": 99}, "both say how long the queue is"),
        (
            {"MMT__MOCO__QUEUE_EPOCHS": 1.0, "MMT__MOCO__WEIGHT": 0.1, "SOLVER__ITERS_PER_EPOCH": 0},
            r"SOLVER\.ITERS_PER_EPOCH is 0, which makes no queue",
        ),
        ({"MMT__MOCO__DOMAINS": "source"}, r"MMT\.MOCO\.DOMAINS is 'source'"),
        ({"MMT__MOCO__WEIGHT": 0.1, "MMT__EMA__ENABLED": False}, "keys of the queue come from mean teachers"),
        ({"DATALOADER__BATCHES": "random"}, r"DATALOADER\.BATCHES is 'random'; choose one of pk, uniform"),
        ({"DATALOADER__BATCHES": "uniform"}, r"PSEUDO_LABELS\.METHOD has to be 'ground_truth'"),
        ({"DATALOADER__BATCHES": "uniform"}, r"set MMT\.TRIPLET_WEIGHT 0\.0"),
        ({"TEST__TOP_K": -1}, r"TEST\.TOP_K is -1"),
        ({"TEST__RERANK__POWER": 3}, r"TEST\.RERANK\.POWER is 3"),
        ({"TEST__RERANK__K2": 21}, r"TEST\.RERANK\.K2 is 21; it must lie in \[1, TEST\.RERANK\.K1\]"),
        ({"TEST__RERANK__LAMBDA": 1.5}, r"TEST\.RERANK\.LAMBDA is 1\.5"),
        ({"TEST__CAMERA__WEIGHT": 1.0}, r"TEST\.CAMERA\.WEIGHT is 1\.0"),
        ({"REPORT__SAMPLE": 0}, r"REPORT\.SAMPLE is 0"),
        ({"MODEL__HEADS__CLS_LAYER": "Sphere"}, r"MODEL\.HEADS\.CLS_LAYER is 'Sphere'; choose one of Linear"),
    ],
)
def test_impossible_combinations_name_the_keys(tiny_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_config(tiny_config(**overrides))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ({"SOLVER__IMS_PER_BATCH": 9}, "batch not divisible by K"),
        ({"PSEUDO_LABELS__KMEANS__NUM_CLUSTERS": 0}, "k-means without a number"),
        ({"MMT__EMA__ALPHA": 1.0}, "alpha outside [0, 1)"),
        ({"MMT__WEIGHTS": ("a.pth",)}, "two networks with one checkpoint"),
        ({"DATALOADER__ON_BAD_IMAGE": "ignore"}, "unknown reaction to a bad image"),
        ({"DATALOADER__MAX_BAD_IMAGES": 1.0}, "all images may be bad"),
        ({"SOLVER__ON_BAD_STEP": "ignore"}, "unknown reaction to a bad step"),
        ({"SOLVER__CHECKPOINT_KEEP": -1}, "negative number of checkpoints"),
    ],
)
def test_nothing_is_read_before_a_config_is_refused(tiny_config, monkeypatch, observe, overrides, kind):
    def refuse(*_):
        raise AssertionError("data was read")

    monkeypatch.setattr("mmt_plugin.synthetic.world_datasets.ensure_domain", refuse)
    with pytest.raises(ConfigError) as error:
        check_config(tiny_config(**overrides))
    assert all(key.replace("__", ".") in str(error.value) for key in overrides)
    observe(f"config: {kind}", error.value)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("MMT.EMA.ALFA", "MMT.EMA.ALPHA"),
        ("PSEUDO_LABEL.METHOD", "PSEUDO_LABELS"),
        ("MMT.SOFT_CE_WEIGTH", "MMT.SOFT_CE_WEIGHT"),
        ("SOLVER.NUM_INSTANCE", "DATALOADER.NUM_INSTANCE"),
    ],
)
@pytest.mark.parametrize("where", ["file", "options"])
def test_unknown_keys_suggest_the_nearest_real_one(tmp_path, observe, key, suggestion, where):
    file = tmp_path / "recipe.yml"
    node, *inner = key.split(".")
    tree = 1
    for name in reversed(inner):
        tree = {name: tree}
    file.write_text(yaml.safe_dump({node: tree}) if where == "file" else "SEED: 1\n")
    told = r"recipe\.yml" if where == "file" else "the command line"
    with pytest.raises(ConfigError, match=rf"{told}.*no key {node}.*did you mean {suggestion}") as error:
        load_config(file, [] if where == "file" else [key, 1])
    observe("config: unknown key", str(error.value).split("; ")[-1])


@pytest.mark.fault
def test_values_of_the_wrong_type_name_the_key(tmp_path, observe):
    (tmp_path / "recipe.yml").write_text("SOLVER:\n  BASE_LR: fast\n")
    with pytest.raises(ConfigError, match=r"recipe\.yml.*SOLVER\.BASE_LR") as error:
        load_config(tmp_path / "recipe.yml")
    observe("config: value of the wrong type", error.value)


def test_all_problems_are_reported_at_once(tiny_config):
    with pytest.raises(ConfigError) as error:
        check_config(tiny_config(MMT__NUM_PAIRS=0, MMT__EMA__ALPHA=2.0))
    assert len(str(error.value).splitlines()) >= 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MMT__JOINT__ROWS": "ones"}, r"MMT\.JOINT\.ROWS is 'ones'"),
        ({"MMT__JOINT__IMS_PER_BATCH": 3}, r"MMT\.JOINT\.IMS_PER_BATCH is 3; .*NUM_INSTANCE, which is 2"),
        ({"DATASETS__NAMES": ()}, r"needs a labelled source, but DATASETS\.NAMES is empty"),
        ({"DATASETS__NAMES": ("SynthMetro",)}, "SynthMetro: in DATASETS.NAMES and in DATASETS.TARGETS"),
        ({"PSEUDO_LABELS__METHOD": "ground_truth"}, "'ground_truth' makes no clusters"),
        (
            {"MMT__JOINT__ROWS": "pretrained", "MMT__SOURCE__PRETRAIN": False},
            r"MMT\.JOINT\.ROWS is 'pretrained', but there is no source model",
        ),
        ({"MMT__TARGET_BN": True}, r"MMT\.TARGET_BN is for source pre-training"),
        (
            {"MMT__IMAGES_PER_BN": 4, "MMT__JOINT__IMS_PER_BATCH": 6},
            r"MMT\.JOINT\.IMS_PER_BATCH is 6, which cannot be cut into BN groups of 4",
        ),
    ],
)
def test_impossible_joint_training_names_the_keys(tiny_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_config(tiny_config("plaza2metro_mmt_plus", **overrides))


def test_one_checkpoint_may_start_both_networks_where_no_source_is_trained(tiny_config):
    check_config(tiny_config(MMT__WEIGHTS=("a.pth", "a.pth"), MMT__SOURCE__PRETRAIN=False))
