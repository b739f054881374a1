"""What runs for a row: source models that rows share, and commands that can be repeated by hand."""

import shlex
from pathlib import Path

from ablation.jobs import command_by_hand, row_job
from ablation.settings import comparable, expected_settings
from small_grid import BASELINE, OVERRIDES
from tiny import REPOSITORY

from mmt_plugin.config import load_config

ROWS = {"MMT": None, "baseline": BASELINE, "direct": {"kind": "source"}, "BN": {"kind": "bn_statistics"}}


def settings(words: list[str]):
    """The configuration that a command of train_net.py makes."""
    start = words.index("--config-file")
    options = [word for word in words[start + 2 :] if not word.startswith("--")]
    options = options[len(options) % 2 :]  # without the folder of --output
    return load_config(words[start + 1], options)


def test_rows_share_the_source_models_of_their_seed(make_grid, tmp_path):
    mmt, baseline, direct, bn = (
        row_job(grid, row, 2, tmp_path) for grid in [make_grid(ROWS)] for row in grid.rows
    )
    assert [source.folder.name for source in mmt.needs] == ["seed3", "seed4"]
    assert mmt.needs[0] == direct
    assert baseline.needs == bn.needs == (direct,)
    assert mmt.folder == tmp_path / "grid" / "seed2" / "mmt"


def test_another_source_recipe_has_source_models_of_its_own(make_grid, tmp_path):
    changed = {"overrides": {"MMT.SOURCE.OPTS": ["SOLVER.BASE_LR", 0.1]}}
    grid = make_grid({"a": None, "b": changed, "c": {"overrides": {"MMT.EMA.ALPHA": 0.5}}})
    a, b, c = (row_job(grid, row, 1, tmp_path) for row in grid.rows)
    assert a.needs == c.needs
    assert not set(a.needs) & set(b.needs)


def test_a_stage_trains_what_the_grid_expects(make_grid, tmp_path):
    grid = make_grid(ROWS)
    for row in grid.rows:
        job, expected = row_job(grid, row, 2, tmp_path), expected_settings(row, 2)
        assert comparable(settings(job.command)) == expected.keys
        if row.kind == "train":
            assert [comparable(settings(source.command)) for source in job.needs] == list(expected.sources)


def test_source_models_of_another_world_are_evaluated_in_the_targets(make_grid, tmp_path):
    overrides = {"MMT.SOURCE.OPTS": [*OVERRIDES["MMT.SOURCE.OPTS"], "SYNTHETIC.SEED", 7]}
    kinds = {"direct": {"kind": "source"}, "BN": {"kind": "bn_statistics"}}
    grid = make_grid({name: {**entry, "overrides": overrides} for name, entry in kinds.items()})
    for row, precise in zip(grid.rows, (False, True), strict=True):
        job = row_job(grid, row, 1, tmp_path)
        evaluated, (source,) = settings(job.command), job.needs
        assert settings(source.command).SYNTHETIC.SEED == 7
        assert job.options[0] == "--eval-only"
        assert evaluated.SYNTHETIC.SEED == 1
        assert evaluated.TEST.PRECISE_BN.ENABLED is precise
        assert f"{source.folder}/model_final.pth" == evaluated.MODEL.WEIGHTS
        assert comparable(evaluated) == expected_settings(row, 1).keys


def test_commands_by_hand_need_no_files_of_the_harness(make_grid, tmp_path):
    grid = make_grid(ROWS)
    commands = [command_by_hand(grid, row, 2).split(" && ") for row in grid.rows]
    (mmt,), (baseline,), (direct,), (trained, bn) = [list(map(shlex.split, each)) for each in commands]
    assert mmt[:4] == [
        "python",
        "tools/train_net.py",
        "--config-file",
        "configs/synthetic/plaza2metro_mmt.yml",
    ]
    assert tuple(settings(mmt).MMT.SOURCE.SEEDS) == (3, 4)
    assert tuple(settings(baseline).MMT.SOURCE.SEEDS) == (3,)
    assert trained == direct
    assert f"{settings(direct).OUTPUT_DIR}/model_final.pth" == settings(bn).MODEL.WEIGHTS
    assert bn[4] == "--eval-only"
    for words in (mmt, baseline, direct, bn):
        assert "--resume" not in words
        assert "REPORT.ENABLED" not in words
        assert str(tmp_path) not in shlex.join(words)


def test_given_weights_need_no_pre_training(make_grid):
    weights = ["a/seed{seed}.pth", "b/seed{seed}.pth"]
    grid = make_grid({"a": {"overrides": {"MMT.WEIGHTS": weights}}})
    job = row_job(grid, grid.rows[0], 2, Path("logs"))
    assert job.needs == ()
    assert tuple(settings(job.command).MMT.WEIGHTS) == ("a/seed2.pth", "b/seed2.pth")


def test_a_ranking_needs_its_runs_and_its_camera_model(make_grid, tmp_path):
    configs = REPOSITORY / "configs"
    entry = {
        "kind": "ranking",
        "config": str(configs / "evaluate" / "synthmetro.yml"),
        "camera": str(configs / "camera" / "synthmetro.yml"),
        "runs": ["MMT", "baseline"],
    }
    grid = make_grid({**ROWS, "entry": entry})
    mmt, baseline, *_, entry = (row_job(grid, row, 2, tmp_path) for row in grid.rows)
    assert entry.needs[:2] == (mmt, baseline)
    camera = entry.needs[2]
    assert settings(camera.command).SYNTHETIC == settings(mmt.command).SYNTHETIC
    assert settings(camera.command).SEED == 2
    words = entry.command[2:]
    assert words[:4] == [str(mmt.folder), str(baseline.folder), "--camera", str(camera.folder)]
    assert words[words.index("--output") + 1] == str(entry.folder)
    expected = expected_settings(grid.rows[-1], 2)
    assert comparable(settings([word for word in words if word != "--opts"])) == expected.keys
    behind = [expected_settings(row, 2) for row in grid.rows[:2]]
    behind = [keys for recipe in behind for keys in (recipe.keys, *recipe.sources)]
    assert list(expected.sources) == [*behind, comparable(settings(camera.command))]

    commands = [shlex.split(each) for each in command_by_hand(grid, grid.rows[-1], 2).split(" && ")]
    assert [words[1] for words in commands] == ["tools/train_net.py"] * 3 + ["tools/evaluate.py"]
    assert shlex.join(commands[0]) == command_by_hand(grid, grid.rows[0], 2)
    assert commands[3][2:4] == ["logs/grid/seed2/mmt", "logs/grid/seed2/baseline"]
