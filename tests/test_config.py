"""Combinations that cannot train are refused with the key's name."""

import pytest

from mmt_plugin.config import ConfigError, check_config


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
    ],
)
def test_impossible_combinations_name_the_keys(tiny_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_config(tiny_config(**overrides))


def test_all_problems_are_reported_at_once(tiny_config):
    with pytest.raises(ConfigError) as error:
        check_config(tiny_config(MMT__NUM_PAIRS=0, MMT__EMA__ALPHA=2.0))
    assert len(str(error.value).splitlines()) >= 2
