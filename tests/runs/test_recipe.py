"""Two configurations make the same model or they do not."""

from pathlib import Path

import pytest
import yaml

from mmt_plugin.runs.recipe import in_its_time, recipe_changes


@pytest.fixture
def dumped(tiny_config):
    """A function: overrides -> a configuration as a run writes it, without some of its keys."""

    def dump(*missing: str, **overrides) -> str:
        tree = yaml.safe_load(tiny_config(**overrides).dump())
        for key in missing:
            *nodes, leaf = key.split(".")
            node = tree
            for name in nodes:
                node = node[name]
            del node[leaf]
        return yaml.safe_dump(tree)

    return dump


def test_a_changed_value_is_named(dumped):
    changes = recipe_changes(dumped(), dumped(MMT__EMA__ALPHA=0.5, MODEL__DEVICE="cuda"))
    assert changes == ["MMT.EMA.ALPHA 0.98 -> 0.5"]


def test_a_key_that_the_older_version_did_not_know_had_its_default(dumped):
    older = dumped("MMT.TEACHER_MARGIN", "DATASETS.OWN")
    assert recipe_changes(older, dumped()) == []
    changes = recipe_changes(older, dumped(MMT__TEACHER_MARGIN=False))
    assert changes == ["MMT.TEACHER_MARGIN True -> False"]


def test_a_key_that_is_gone_is_named(dumped):
    older = yaml.safe_load(dumped())
    older["MMT"]["FORMER"] = 3
    assert recipe_changes(yaml.safe_dump(older), dumped()) == ["MMT.FORMER 3 -> None"]


def test_where_own_crops_lie_is_no_change(dumped):
    here, moved, other = (dumped(DATASETS__TARGETS=(f"folder:/{path}",)) for path in ("a/x", "b/c/x", "a/y"))
    assert recipe_changes(here, moved) == []
    assert len(recipe_changes(here, other)) == 1
    assert recipe_changes(dumped(), dumped(DATALOADER__CACHE="/somewhere")) == []


def test_an_allowed_change_does_not_count(dumped):
    changed = dumped(MMT__EMA__ALPHA=0.5, SOLVER__BASE_LR=0.1)
    changes = recipe_changes(dumped(), changed, allowed=["SOLVER.BASE_LR"])
    assert changes == ["MMT.EMA.ALPHA 0.98 -> 0.5"]


def test_the_period_of_evaluations_counts_where_they_choose_the_model(dumped):
    keys = {"MMT__SELECTION__RULE": "best", "MMT__SELECTION__DATASET": "SynthMetro"}
    assert recipe_changes(dumped(), dumped(TEST__EVAL_PERIOD=1)) == []
    assert recipe_changes(dumped(**keys), dumped(TEST__EVAL_PERIOD=1, **keys)) == ["TEST.EVAL_PERIOD 2 -> 1"]


def test_a_run_goes_on_without_the_keys_that_came_after_it(tiny_config, tmp_path):
    cfg = tiny_config(MMT__TRIPLET_GRADIENT="anchor", SOLVER__WARMUP_EPOCHS=0.5, SOLVER__WARMUP_ITERS=0)
    cfg.freeze()
    assert in_its_time(cfg) is cfg  # no run yet
    recorded = cfg.clone()
    recorded.defrost()
    recorded.SOLVER.WARMUP_ITERS = 50
    del recorded.SOLVER["WARMUP_EPOCHS"], recorded.MMT["TRIPLET_GRADIENT"]
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(recorded.dump())
    now = in_its_time(cfg)
    assert (now.MMT.TRIPLET_GRADIENT, now.SOLVER.WARMUP_EPOCHS, now.SOLVER.WARMUP_ITERS) == ("both", 0.0, 50)
    assert recipe_changes(recorded.dump(), now.dump()) == []
    (folder / "config.yaml").write_text(cfg.dump())
    assert in_its_time(cfg) is cfg
