"""Settings that cannot train are refused with the key's name."""

import pytest

from mmt_plugin.config import ConfigError, check_config


@pytest.mark.parametrize("name", ["sda/plaza2metro", "sda/plaza2metro_spgan"])
def test_shipped_settings_pass(sda_config, name):
    check_config(sda_config(name))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"SDA__METHOD": "cyclegan"}, r"SDA\.METHOD is 'cyclegan'; choose one of sda, spgan"),
        ({"SDA__GENERATOR__WIDTH": 0}, r"SDA\.GENERATOR\.WIDTH is 0"),
        ({"SDA__GENERATOR__BLOCKS": 0}, r"SDA\.GENERATOR\.BLOCKS is 0"),
        ({"SDA__DISCRIMINATOR__WIDTH": 0}, r"SDA\.DISCRIMINATOR\.WIDTH is 0"),
        ({"SDA__DISCRIMINATOR__LAYERS": 0}, r"SDA\.DISCRIMINATOR\.LAYERS is 0"),
        ({"SDA__POOL_SIZE": -1}, r"SDA\.POOL_SIZE is -1"),
        ({"SDA__CYCLE_WEIGHT": -1.0}, r"SDA\.CYCLE_WEIGHT is -1\.0"),
        ({"SDA__IDENTITY_WEIGHT": -1.0}, r"SDA\.IDENTITY_WEIGHT is -1\.0"),
        ({"SDA__RELATION_WEIGHT": -1.0}, r"SDA\.RELATION_WEIGHT is -1\.0"),
        ({"SDA__SELF_SIMILARITY__WEIGHT": -1.0}, r"SDA\.SELF_SIMILARITY\.WEIGHT is -1\.0"),
        ({"SDA__SELF_SIMILARITY__MARGIN": 2.5}, r"SDA\.SELF_SIMILARITY\.MARGIN is 2\.5"),
        ({"SDA__SELF_SIMILARITY__START_EPOCH": -1}, r"SDA\.SELF_SIMILARITY\.START_EPOCH is -1"),
        ({"SDA__BETAS": (0.5, 1.0)}, r"SDA\.BETAS is \(0\.5, 1\.0\)"),
        ({"SDA__DECAY_EPOCHS": 3}, r"SDA\.DECAY_EPOCHS is 3, more than SOLVER\.MAX_EPOCH, which is 2"),
        ({"SDA__ENCODER_SIZE": [64]}, r"SDA\.ENCODER_SIZE is \[64\]"),
        ({"SDA__SHEET__IMAGES": 0}, r"SDA\.SHEET\.IMAGES is 0"),
        ({"INPUT__SIZE_TRAIN": [32, 16]}, r"INPUT\.SIZE_TRAIN is \[32, 16\].*at least 24"),
        ({"DATASETS__NAMES": ()}, r"DATASETS\.NAMES is empty"),
        ({"DATASETS__TARGETS": ()}, r"DATASETS\.TARGETS is empty"),
        ({"SOLVER__IMS_PER_BATCH": 5}, r"SOLVER\.IMS_PER_BATCH is 5; it must be a multiple"),
        ({"SOLVER__IMS_PER_BATCH": 2}, r"SOLVER\.IMS_PER_BATCH is 2; .* and more"),
        (
            {"SDA__SOURCE_ENCODER": "", "MMT__SOURCE__CONFIG_FILE": ""},
            r"SDA\.SOURCE_ENCODER is empty.*set MMT\.SOURCE\.CONFIG_FILE",
        ),
    ],
)
def test_impossible_settings_name_the_keys(sda_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_config(sda_config(**overrides))
