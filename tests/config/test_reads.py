"""Keys of fastreid's that a run never reads are refused, and none that it reads."""

import copy
import re
from pathlib import Path

import pytest
from small_sda import SDA_TINY
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.config import ConfigError, load_config
from mmt_plugin.config.load import written_keys
from mmt_plugin.config.reads import INSTEAD, recording, unread_keys
from mmt_plugin.engine import acceptance, trainer

RECIPE = REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml"
UNREAD = {
    "MODEL.LOSSES.NAME": ("('CircleLoss', 'TripletLoss')", "MMT.TRIPLET_WEIGHT"),
    "MODEL.LOSSES.TRI.MARGIN": (0.7, "no margin"),
    "MODEL.LOSSES.CE.EPSILON": (0.1, "MMT.CE_EPSILON"),
    "DATALOADER.SAMPLER_TRAIN": ("ImbalancedDatasetSampler", "DATALOADER.BATCHES"),
    "DATALOADER.SET_WEIGHT": ("[1, 2]", "MMT.JOINT.IMS_PER_BATCH"),
    "KD.EMA.ENABLED": (True, "MMT.EMA"),
    "MODEL.QUEUE_SIZE": (100, "MMT.MOCO.QUEUE_SIZE"),
    "MODEL.BACKBONE.SIE_COE": (2.0, "take it out"),
    "SOLVER.NESTEROV": (True, "take it out"),
    "TEST.PRECISE_BN.NUM_ITER": (20, "TEST.PRECISE_BN.DATASET"),
}
READ = {
    "SOLVER.AMP.ENABLED": True,
    "SOLVER.WARMUP_ITERS": 2,
    "SOLVER.WARMUP_FACTOR": 0.5,
    "INPUT.CJ.ENABLED": True,
    "INPUT.SIZE_TEST": "[64, 32]",
    "TEST.IMS_PER_BATCH": 7,
    "TEST.AQE.QE_K": 3,
    "MODEL.HEADS.MARGIN": 0.1,
}


def test_what_is_never_read_is_refused_before_anything_is_trained(command, tiny_config, tmp_path):
    tiny_config()
    settings = {**TINY, **READ, **{key: value for key, (value, _) in UNREAD.items()}}
    ended = command("train", "--config-file", RECIPE, *as_options({**settings, "OUTPUT_DIR": tmp_path / "r"}))
    assert ended.status == 2
    told = ended.err.removeprefix("error: ").splitlines()
    refused = {line.split(" is set")[0] for line in told}
    assert (refused - UNREAD.keys(), UNREAD.keys() - refused) == (set(), set())
    for line in told:
        assert UNREAD[line.split(" is set")[0]][1] in line
    assert not list((tmp_path / "r").rglob("*.pth"))
    assert not (tmp_path / "r" / "config.yaml").exists()


def test_a_translation_refuses_them_before_its_encoder_is_trained(command, tiny_config, tmp_path):
    tiny_config()
    unread = {"SOLVER.WARMUP_ITERS": 5, "SOLVER.SCHED": "CosineAnnealingLR", "TEST.FLIP.ENABLED": True}
    keys = as_options({**SDA_TINY, "OUTPUT_DIR": tmp_path / "r", **unread})
    ended = command("train", "--config-file", REPOSITORY / "configs" / "sda" / "plaza2metro.yml", *keys)
    assert ended.status == 2
    told = ended.err.removeprefix("error: ").splitlines()
    assert {line.split(" is set")[0] for line in told} == unread.keys()
    assert all(line.endswith("take it out of the configuration") for line in told)
    assert not list((tmp_path / "r").rglob("*.pth"))
    assert not (tmp_path / "r" / "config.yaml").exists()


def test_a_resumed_run_may_keep_what_it_was_made_with_and_no_more(tiny_config):
    keys = {"KD__EMA__MOMENTUM": 0.5, "MODEL__QUEUE_SIZE": 9, "MODEL__WEIGHTS": "moved.pth"}
    cfg = recording(tiny_config(**keys), ["KD.EMA.MOMENTUM", "MODEL.QUEUE_SIZE", "MODEL.WEIGHTS"])
    Path(cfg.OUTPUT_DIR).mkdir()
    Path(cfg.OUTPUT_DIR, "config.yaml").write_text(tiny_config(KD__EMA__MOMENTUM=0.5).dump())
    with pytest.raises(ConfigError) as refused:
        acceptance.accept(cfg, resumed=True)
    told = str(refused.value).splitlines()
    assert [line for line in told if line.startswith(("KD", "MODEL.QUEUE", "MODEL.WEIGHTS"))] == [
        "MODEL.QUEUE_SIZE is set, but this run never reads it: MMT.MOCO.QUEUE_SIZE is the memory's size"
    ]


def test_a_key_that_the_code_begins_to_read_is_accepted(tiny_config, monkeypatch):
    cfg = recording(tiny_config(KD__EMA__MOMENTUM=0.5, MODEL__QUEUE_SIZE=9, DATASETS__TESTS=()))
    build = trainer.build_optimizer

    def reading(cfg, students):
        return build(cfg, students) if cfg.clone().KD.EMA["MOMENTUM"] else None

    monkeypatch.setattr(trainer, "build_optimizer", reading)
    Path(cfg.OUTPUT_DIR).mkdir()
    trainer.MMTTrainer(cfg).close()
    acceptance.read_for_evaluation(cfg)
    assert unread_keys(cfg) == ["MODEL.QUEUE_SIZE"]


def test_looking_at_a_configuration_reads_none_of_it():
    cfg = recording(load_config(RECIPE, ["KD.EMA.MOMENTUM", 0.5]), ["KD"])
    cfg.freeze()
    assert cfg.dump() == load_config(RECIPE, ["KD.EMA.MOMENTUM", 0.5]).dump()
    assert str(cfg)
    assert copy.deepcopy(cfg) == cfg
    assert cfg.is_frozen()
    assert "KD.EMA.MOMENTUM" in unread_keys(cfg)
    assert recording(cfg) is cfg
    assert cfg.clone().KD.EMA.get("MOMENTUM") == 0.5
    assert "KD.EMA.MOMENTUM" not in unread_keys(cfg)


def test_only_what_the_user_wrote_is_written(tmp_path):
    recipe = tmp_path / "mine.yml"
    recipe.write_text(f"_BASE_: {RECIPE}\nMODEL: {{LOSSES: {{CE: {{EPSILON: 0.1}}}}}}\nSEED: 3\n")
    assert written_keys(recipe, ["KD.EMA.ENABLED", True]) == [
        "_BASE_",
        "MODEL.LOSSES.CE.EPSILON",
        "SEED",
        "KD.EMA.ENABLED",
    ]


@pytest.mark.parametrize("message", INSTEAD.values())
def test_keys_that_messages_name_exist(message):
    cfg = load_config(RECIPE)
    for key in re.findall(r"[A-Z]+(?:\.[A-Z_]+)+", message):
        node = cfg
        for part in key.split("."):
            node = node[part]
