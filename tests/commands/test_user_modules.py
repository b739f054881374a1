"""A user's own parts: brought in by --import and by nothing else, recorded, and asked for by name."""

import sys

import pytest
import yaml
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from tiny import REPOSITORY, TINY, as_options

from mmt_plugin.challenge.ranked_run import load_run
from mmt_plugin.commands import job
from mmt_plugin.commands.line import parse, parser_of
from mmt_plugin.commands.user_modules import import_module_or_file
from mmt_plugin.config import ConfigError, check_config
from mmt_plugin.errors import UsageError
from mmt_plugin.runs.recipe import recipe_changes

RECIPE = REPOSITORY / "configs" / "synthetic" / "plaza2metro_mmt.yml"
PARTS = """
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
import helper_of_mine
from mmt_plugin.modeling import MutualMeanTeaching

@META_ARCH_REGISTRY.register()
class TeachingOfMine(MutualMeanTeaching):
    pass
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A file that registers a meta-architecture; taken back after the test."""
    file = tmp_path / "parts_of_mine.py"
    file.write_text(PARTS)
    (tmp_path / "helper_of_mine.py").write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield file
    META_ARCH_REGISTRY._obj_map.pop("TeachingOfMine", None)
    for name in ("parts_of_mine", "helper_of_mine"):
        sys.modules.pop(name, None)


def words(tmp_path, *more) -> list[str]:
    options = as_options(
        {**TINY, "OUTPUT_DIR": tmp_path / "run", "MODEL.META_ARCHITECTURE": "TeachingOfMine"}
    )
    return [str(word) for word in ("--config-file", RECIPE, *options, *more)]


def test_a_subclass_is_trained_as_its_base_class_and_its_import_recorded(parts, tmp_path, datasets_root):
    arguments = parse(parser_of("train", "mmt train"), words(tmp_path, "--import", str(parts)))
    for name in [*arguments.imports, *arguments.imports]:  # a second time, as in each process of a run
        import_module_or_file(name)
    cfg = job.load_checked_config(arguments)
    assert job.runner(cfg) is job.run_adaptation
    assert yaml.safe_load(cfg.dump())["IMPORTS"] == [str(parts)]
    other = cfg.clone()
    other.defrost()
    other.IMPORTS = ("elsewhere.py",)
    assert recipe_changes(cfg.dump(), other.dump()) == []

    # Later, without the import: the run's own record says which it was.
    META_ARCH_REGISTRY._obj_map.pop("TeachingOfMine")
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "config.yaml").write_text(cfg.dump())
    with pytest.raises(ConfigError, match=f"TeachingOfMine.*made with --import {parts}: give that again"):
        load_run(str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="TeachingOfMine"):
        check_config(cfg)
    sys.modules.pop("parts_of_mine")
    import_module_or_file("parts_of_mine")  # as a module, from the path
    check_config(cfg)


def test_without_its_import_the_command_names_the_remedy(command, parts, tmp_path, datasets_root):
    ended = command("train", *words(tmp_path))
    assert ended.status == 2
    assert "MODEL.META_ARCHITECTURE is 'TeachingOfMine'" in ended.err
    assert "--import" in ended.err
    # A recipe that names an import does not import.
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"_BASE_: {RECIPE}\nIMPORTS: ('{parts}',)\n")
    ended = command("train", "--config-file", recipe, "MODEL.META_ARCHITECTURE", "TeachingOfMine")
    assert ended.status == 2
    assert "parts_of_mine" not in sys.modules


@pytest.mark.parametrize("key", ["MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME", "MODEL.HEADS.NAME"])
def test_a_misspelt_name_gets_the_nearest(tiny_config, key):
    cfg = tiny_config()
    node = cfg.MODEL if key.count(".") == 1 else cfg.MODEL[key.split(".")[1]]
    right = node[key.split(".")[-1]]
    node[key.split(".")[-1]] = right[:-1]
    with pytest.raises(ConfigError, match=f"{key} is '{right[:-1]}'.*did you mean {right}"):
        check_config(cfg)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.py", None, "there is no such file"),
        ("no_module_of_mine", None, "there is no module 'no_module_of_mine'"),
        ("broken_part.py", "1 +", "SyntaxError"),
        ("raising_part.py", "raise RuntimeError('not today')", "RuntimeError: not today"),
        ("yaml.py", "", "a module of the name 'yaml' is loaded already"),
    ],
)
def test_what_cannot_be_imported(tmp_path, monkeypatch, name, content, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message) as error:
        import_module_or_file(name)
    assert name in str(error.value)
    assert name.removesuffix(".py") == "yaml" or name.removesuffix(".py") not in sys.modules
