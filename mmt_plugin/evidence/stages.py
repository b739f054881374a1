"""What has to run for one row and seed: calls of tools/train_net.py that can be repeated by hand."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastreid.config import CfgNode

from mmt_plugin.config import load_config
from mmt_plugin.engine.description import recipe_digest
from mmt_plugin.engine.pipeline import FINAL_MODEL, RESULTS
from mmt_plugin.engine.recipe import FREE_KEYS, flatten

from .grid import Grid, Row
from .recipe import evaluation_options, has_sources, source_of, source_seeds

REPOSITORY = Path(__file__).parents[2]
TRAIN_NET = REPOSITORY / "tools" / "train_net.py"
EVALUATION = "evaluation.json"
# What changes no table.
UNSHOWN = {*FREE_KEYS} - {"REPORT.LABEL_NOISE"}


@dataclass(frozen=True)
class Stage:
    """One call of tools/train_net.py. Stages of one folder are equal.

    Attributes:
        name: for people.
        folder: its OUTPUT_DIR.
        record: name of the file there that marks it complete.
        config: its configuration file.
        options: a switch, then KEY VALUE pairs; without OUTPUT_DIR.
        needs: stages that must be complete before it.
    """

    name: str = field(compare=False)
    folder: Path
    record: str = field(compare=False)
    config: Path = field(compare=False)
    options: tuple[str, ...] = field(compare=False)
    needs: tuple["Stage", ...] = field(default=(), compare=False)

    @property
    def finished(self) -> bool:
        return (self.folder / self.record).is_file()

    @property
    def command(self) -> list[str]:
        """As this Python runs it."""
        call = [sys.executable, str(TRAIN_NET), "--config-file", str(self.config)]
        return [*call, *self.options, "OUTPUT_DIR", str(self.folder)]


def row_stage(grid: Grid, row: Row, seed: int, output: Path) -> Stage:
    """The stage that gives a row's numbers for one seed, with what it needs.

    Args:
        grid: the row's.
        row: of the grid.
        seed: of the run.
        output: folder of all runs. Source models of one recipe are shared by all rows and grids below it.
    """
    name, folder = f"{row.name}, seed {seed}", output / grid.name / f"seed{seed}" / row.slug
    if row.kind != "train":
        source, changes = source_stage(row, seed, 0, output), evaluation_options(row, seed)
        if not changes:
            return source
        weights = ["MODEL.WEIGHTS", source.folder / FINAL_MODEL]
        options = _words(["--eval-only", *source.options[1:], *weights, *changes])
        return Stage(name, folder, EVALUATION, source.config, options, (source,))
    cfg = load_config(row.config, row.options(seed))
    options, sources = ["--resume", *row.options(seed)], ()
    if has_sources(cfg):
        sources = tuple(source_stage(row, seed, pair, output) for pair in range(cfg.MMT.NUM_PAIRS))
        options += ["MMT.WEIGHTS", tuple(str(source.folder / FINAL_MODEL) for source in sources)]
    return Stage(name, folder, RESULTS, row.config, _words(options), sources)


def source_stage(row: Row, seed: int, pair: int, output: Path) -> Stage:
    """The pre-training of one of a row's source models, as the row's own run would do it."""
    adaptation = load_config(row.config, row.options(seed))
    file = row.config.parent / adaptation.MMT.SOURCE.CONFIG_FILE
    cfg, source_seed = source_of(row, seed, pair), source_seeds(seed)[pair]
    options = [*_overrides(file, cfg), "REPORT.ENABLED", adaptation.REPORT.ENABLED, "SEED", source_seed]
    folder = output / "sources" / f"{file.stem}_{recipe_digest(cfg)[:8]}" / f"seed{source_seed}"
    name = f"source model of seed {source_seed}"
    return Stage(name, folder, RESULTS, file, _words(["--resume", *options]))


def command_by_hand(grid: Grid, row: Row, seed: int) -> str:
    """A shell command that needs nothing but the repository, and leaves out what does not change the numbers.

    A training pre-trains its own source models, from the same seeds. A source model that is only evaluated is
    trained first, by a command of its own.
    """
    stage = row_stage(grid, row, seed, Path("logs"))
    before = stage.needs if row.kind != "train" else ()
    given = {"MMT.SOURCE.SEEDS": str(source_seeds(seed)[: len(stage.needs)])} if stage.needs else {}
    return " && ".join(
        shlex.join(_words_by_hand(each, given if row.kind == "train" else {})) for each in (*before, stage)
    )


def _words_by_hand(stage: Stage, sources: dict[str, str]) -> list[str]:
    """The words of a stage's command; where its source models' seeds are given, in place of their files."""
    switch, *options = stage.options
    pairs = dict(zip(options[::2], options[1::2], strict=True))
    if sources:
        del pairs["MMT.WEIGHTS"]
    words = ["python", "tools/train_net.py", "--config-file", _shown(stage.config)]
    words += [] if switch == "--resume" else [switch]
    words += [word for pair in (pairs | sources).items() if pair[0] not in UNSHOWN for word in pair]
    return [*words, "OUTPUT_DIR", str(stage.folder)]


def _shown(file: Path) -> str:
    """A path from the repository's root, where the file is in it."""
    absolute = file.resolve()
    return str(absolute.relative_to(REPOSITORY) if absolute.is_relative_to(REPOSITORY) else file)


def _overrides(file: Path, cfg: CfgNode) -> list:
    """KEY VALUE pairs that make a configuration of a file."""
    before, after = flatten(load_config(file)), flatten(cfg)
    return [
        word
        for key in sorted(after)
        if key not in ("OUTPUT_DIR", "SEED") and before.get(key) != after[key]
        for word in (key, after[key])
    ]


def _words(options: Sequence) -> tuple[str, ...]:
    return tuple(map(str, options))
