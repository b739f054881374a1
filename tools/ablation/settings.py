"""All settings behind a number: what the grid says, what a run's folder says, and where they differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid.config import CfgNode, get_cfg

from mmt_plugin.config import ConfigError, add_mmt_config, load_config
from mmt_plugin.engine.pipeline import source_config
from mmt_plugin.runs.recipe import FREE_KEYS, flatten, in_one_form
from mmt_plugin.runs.run import Run, RunError

from .errors import AblationError

if TYPE_CHECKING:
    from .grid import Row

# What does not change a run's numbers, or is compared as the source models' own recipe.
UNCOMPARED = {
    *FREE_KEYS,
    *("MMT.WEIGHTS", "MODEL.WEIGHTS", "MMT.SOURCE.CONFIG_FILE", "MMT.SOURCE.SEEDS", "MMT.SOURCE.OPTS"),
}


@dataclass(frozen=True)
class Settings:
    """Everything that makes a number.

    Attributes:
        keys: the whole configuration by dotted key, seed included, without what does not matter.
        sources: those of the source models that were pre-trained for it, one each; none of a source model
            itself, or where weights are given. Of a ranking, those of its runs, each with its source models,
            and of its camera model.
    """

    keys: Mapping[str, Any]
    sources: tuple[Mapping[str, Any], ...] = ()


def row_config(row: Row, seed: int) -> CfgNode:
    """Configuration of a row's run.

    Raises:
        ConfigError: it is wrong.
    """
    return _loaded(row.config, _hashable(row.options(seed))).clone()


@lru_cache(maxsize=64)  # asked for several times a row, and YAML is slow to read
def _loaded(config: Path, options: tuple) -> CfgNode:
    return load_config(config, options)


def expected_settings(row: Row, seed: int) -> Settings:
    """What the grid says.

    Raises:
        ConfigError: the row's configuration, or that of its source models, is wrong.
    """
    if row.kind == "ranking":
        runs = [expected_settings(run, seed) for run in row.runs]
        if row.camera:
            runs.append(Settings(comparable(load_config(row.camera, camera_options(row, seed)))))
        return _together(row_config(row, seed), runs)
    if row.kind != "train":
        cfg = source_of(row, seed, 0).clone()
        cfg.defrost()
        cfg.merge_from_list(evaluation_options(row, seed))
        return Settings(comparable(cfg))
    cfg = row_config(row, seed)
    sources = [source_of(row, seed, pair) for pair in range(cfg.MMT.NUM_PAIRS)] if has_sources(cfg) else []
    return Settings(comparable(cfg), tuple(comparable(source) for source in sources))


def settings_of_run(folder: Path) -> Settings:
    """What a finished run's folder, and those of its source models, say. A key that its version of the code
    had not counts as its default.

    Raises:
        AblationError: a configuration is missing or cannot be read.
    """
    run = _opened(folder)
    cfg = _config_of(run)
    if ranked := _ranked_folders(run):
        return _together(cfg, [settings_of_run(each) for each in ranked])
    if cfg.PSEUDO_LABELS.METHOD == "ground_truth":
        return Settings(comparable(cfg))
    return Settings(
        comparable(cfg), tuple(comparable(_config_of(_opened(Path(path).parent))) for path in cfg.MMT.WEIGHTS)
    )


def camera_options(row: Row, seed: int) -> list:
    """KEY VALUE pairs for a ranking's camera model: the built-in world is that of the runs."""
    world = {key: value for key, value in row.overrides.items() if key.startswith("SYNTHETIC.")}
    return [*(word for pair in world.items() for word in pair), "SEED", seed]


def settings_digest(settings: Settings, defaults: Mapping[str, Any]) -> str:
    """16 hexadecimal digits, equal for settings that make the same numbers.

    Args:
        settings: to be told from others.
        defaults: what keys are where nobody says otherwise. Those that are just that do not count, so that a
            key which is added later changes no digest.
    """
    said = [
        {key: value for key, value in sorted(keys.items()) if value != defaults.get(key)}
        for keys in (settings.keys, *settings.sources)
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def differences(recorded: Settings, expected: Settings, source: str = "source model") -> list[str]:
    """Where recorded settings are not those of a row, each as "KEY was old, is new".

    Args:
        recorded: of a run.
        expected: of the row.
        source: what the models are called that it starts from.
    """
    found = list(_differing(recorded.keys, expected.keys))
    if not expected.sources:  # given weights: theirs are not known from the grid alone
        return found
    if len(recorded.sources) != len(expected.sources):
        found.append(f"{source}s were {len(recorded.sources)}, are {len(expected.sources)}")
    for old, new in zip(recorded.sources, expected.sources, strict=False):
        found += [f"{source}'s {change}" for change in _differing(old, new)]
    return found


def source_name(row: Row) -> str:
    """What the models are called that a row starts from."""
    return "ranked model" if row.kind == "ranking" else "source model"


def source_seeds(seed: int) -> tuple[int, int]:
    """Seeds of the two source models that a run of some seed starts from; no two runs share one."""
    return 2 * seed - 1, 2 * seed


def source_differences(row: Row, seed: int, pair: int, folder: Path) -> list[str]:
    """Where a finished source model's folder is not what a row's run starts from."""
    return list(_differing(comparable(_config_of(_opened(folder))), comparable(source_of(row, seed, pair))))


def has_sources(cfg: CfgNode) -> bool:
    """Whether a training starts from source models that have to be pre-trained for it."""
    return cfg.MMT.SOURCE.PRETRAIN and not cfg.MMT.WEIGHTS


def source_of(row: Row, seed: int, pair: int) -> CfgNode:
    """Configuration of a row's source model, frozen.

    Args:
        row: of the grid.
        seed: of the row's run.
        pair: 0 for the first pair's, 1 for the second's.

    Raises:
        ConfigError: the row has none, or its recipe is wrong.
    """
    cfg = row_config(row, seed)
    if not cfg.MMT.SOURCE.CONFIG_FILE:
        raise ConfigError("MMT.SOURCE.CONFIG_FILE is empty, so there is no source model")
    return source_config(cfg, str(row.config), source_seeds(seed)[pair])


def evaluation_options(row: Row, seed: int) -> list:
    """Overrides of a source model's recipe that evaluate it as a row says, as KEY VALUE pairs: in the world
    of the target, where its own was another, and with BN statistics of the target. Empty where its own
    evaluation is just that.
    """
    cfg, source = row_config(row, seed), source_of(row, seed, 0)
    world, own = flatten(cfg.SYNTHETIC), flatten(source.SYNTHETIC)
    options = [word for key in world if world[key] != own[key] for word in (f"SYNTHETIC.{key}", world[key])]
    if row.kind == "bn_statistics":
        options += ["TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.DATASET", source.DATASETS.TARGETS[0]]
    return options


def comparable(cfg: CfgNode) -> dict[str, Any]:
    """A configuration by dotted key, as JSON holds it, without what does not matter."""
    keys = in_one_form(flatten(cfg))
    return {key: _plain(value) for key, value in keys.items() if key not in UNCOMPARED}


@cache
def default_keys() -> Mapping[str, Any]:
    """What each key is where nobody says otherwise."""
    cfg = get_cfg()
    add_mmt_config(cfg)
    return comparable(cfg)


def _together(settings: CfgNode, parts: Sequence[Settings]) -> Settings:
    """The recipe of a ranking."""
    return Settings(
        comparable(settings), tuple(keys for part in parts for keys in (part.keys, *part.sources))
    )


def _ranked_folders(run: Run) -> list[Path]:
    """The runs that tools/evaluate.py has ranked, the camera model last; none in a run's folder."""
    ranked = run.evaluation.get("ranked")
    return [Path(path) for path in (*ranked["runs"], ranked["camera"]) if path] if ranked else []


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    defaults = default_keys()
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key, defaults.get(key)), new.get(key, defaults.get(key))
        if was != now:
            yield f"{key} was {was!r}, is {now!r}"


def _opened(folder: Path) -> Run:
    try:
        return Run(folder)
    except RunError as error:
        raise AblationError(f"{folder} cannot be checked against the grid: {error}") from error


def _config_of(run: Run) -> CfgNode:
    try:
        return run.record_cfg
    except (ConfigError, RunError) as error:
        raise AblationError(f"{run.folder} cannot be checked against the grid: {error}") from error
