"""What has to run for one row and seed: calls of the tools that can be repeated by hand."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fastreid.config import CfgNode

from mmt_plugin.config import load_config
from mmt_plugin.runs.recipe import FREE_KEYS, flatten
from mmt_plugin.runs.run_files import EVALUATION, FINAL_MODEL, RESULTS

from .grid import Grid, Row
from .settings import (
    Settings,
    camera_options,
    comparable,
    default_keys,
    evaluation_options,
    has_sources,
    row_config,
    settings_digest,
    source_of,
    source_seeds,
)

REPOSITORY = Path(__file__).parents[2]
# What changes no table.
UNSHOWN = {*FREE_KEYS} - {"REPORT.LABEL_NOISE"}


@dataclass(frozen=True)
class Job:
    """One call of tools/train_net.py. Jobs of one folder are equal.

    Attributes:
        name: for people.
        folder: its OUTPUT_DIR.
        record: name of the file there that marks it complete.
        config: its configuration file.
        options: KEY VALUE pairs, after a switch if there is one; without OUTPUT_DIR.
        needs: jobs that must be complete before it.
    """

    name: str = field(compare=False)
    folder: Path
    record: str = field(compare=False)
    config: Path = field(compare=False)
    options: tuple[str, ...] = field(compare=False)
    needs: tuple["Job", ...] = field(default=(), compare=False)
    tool: ClassVar[str] = "train_net.py"

    @property
    def finished(self) -> bool:
        return (self.folder / self.record).is_file()

    @property
    def command(self) -> list[str]:
        """As this Python runs it."""
        tool = REPOSITORY / "tools" / self.tool
        return [sys.executable, str(tool), *self.arguments(str(self.config), self.options)]

    def arguments(self, config: str, options: Sequence[str]) -> list[str]:
        """The words after the tool's name."""
        return ["--config-file", config, *options, "OUTPUT_DIR", str(self.folder)]


@dataclass(frozen=True)
class RankingJob(Job):
    """One call of tools/evaluate.py, of the runs that it needs.

    Attributes:
        with_camera: whether the last of these is a camera model.
    """

    with_camera: bool = field(default=False, compare=False)
    tool: ClassVar[str] = "evaluate.py"

    def arguments(self, config: str, options: Sequence[str]) -> list[str]:
        runs = [str(job.folder) for job in self.needs]
        if self.with_camera:
            runs.insert(-1, "--camera")
        return [*runs, "--config-file", config, "--output", str(self.folder), "--opts", *options]


def row_job(grid: Grid, row: Row, seed: int, output: Path) -> Job:
    """The job that gives a row's numbers for one seed, with what it needs.

    Args:
        grid: the row's.
        row: of the grid.
        seed: of the run.
        output: folder of all runs. Source models of one recipe are shared by all rows and grids below it.
    """
    name, folder = f"{row.name}, seed {seed}", output / grid.name / f"seed{seed}" / row.slug
    if row.kind == "ranking":
        needs = [row_job(grid, run, seed, output) for run in row.runs]
        if row.camera:
            needs.append(camera_job(row, seed, output))
        options = _words(row.options(seed))
        return RankingJob(name, folder, EVALUATION, row.config, options, tuple(needs), bool(row.camera))
    if row.kind != "train":
        source, changes = source_job(row, seed, 0, output), evaluation_options(row, seed)
        if not changes:
            return source
        weights = ["MODEL.WEIGHTS", source.folder / FINAL_MODEL]
        options = _words(["--eval-only", *source.options[1:], *weights, *changes])
        return Job(name, folder, EVALUATION, source.config, options, (source,))
    cfg = row_config(row, seed)
    options, sources = ["--resume", *row.options(seed)], ()
    if has_sources(cfg):
        sources = tuple(source_job(row, seed, pair, output) for pair in range(cfg.MMT.NUM_PAIRS))
        options += ["MMT.WEIGHTS", tuple(str(source.folder / FINAL_MODEL) for source in sources)]
    return Job(name, folder, RESULTS, row.config, _words(options), sources)


def camera_job(row: Row, seed: int, output: Path) -> Job:
    """The training of a ranking's camera model."""
    options = camera_options(row, seed)
    digest = _short_digest(load_config(row.camera, options))
    folder = output / "cameras" / f"{row.camera.stem}_{digest}" / f"seed{seed}"
    return Job(f"camera model of seed {seed}", folder, RESULTS, row.camera, _words(["--resume", *options]))


def source_job(row: Row, seed: int, pair: int, output: Path) -> Job:
    """The pre-training of one of a row's source models, as the row's own run would do it."""
    adaptation = row_config(row, seed)
    file = row.config.parent / adaptation.MMT.SOURCE.CONFIG_FILE
    cfg, source_seed = source_of(row, seed, pair), source_seeds(seed)[pair]
    options = [*_overrides(file, cfg), "REPORT.ENABLED", adaptation.REPORT.ENABLED, "SEED", source_seed]
    folder = output / "sources" / f"{file.stem}_{_short_digest(cfg)}" / f"seed{source_seed}"
    name = f"source model of seed {source_seed}"
    return Job(name, folder, RESULTS, file, _words(["--resume", *options]))


def _short_digest(cfg: CfgNode) -> str:
    """Of a model's settings, for the name of its folder; a key that is added later does not change it."""
    return settings_digest(Settings(comparable(cfg)), default_keys())[:8]


def command_by_hand(grid: Grid, row: Row, seed: int) -> str:
    """A shell command that needs the repository and what the grid's file says has to be made first. It leaves
    out what does not change the numbers.

    A training pre-trains its own source models, from the same seeds. What is only evaluated is trained first,
    by commands of its own.
    """
    job = row_job(grid, row, seed, Path("logs"))
    before = job.needs if row.kind != "train" else ()
    return " && ".join(shlex.join(_words_by_hand(each)) for each in (*before, job))


def _words_by_hand(job: Job) -> list[str]:
    """The words of a job's command; of a training, its source models' seeds in place of their files."""
    switch, pairs = _split(job)
    if job.needs and "MMT.WEIGHTS" in pairs:
        del pairs["MMT.WEIGHTS"]
        pairs["MMT.SOURCE.SEEDS"] = str(tuple(int(_split(source)[1]["SEED"]) for source in job.needs))
    shown = [word for word in switch if word != "--resume"]
    shown += [word for pair in pairs.items() if pair[0] not in UNSHOWN for word in pair]
    return ["python", f"tools/{job.tool}", *job.arguments(from_repository(job.config), shown)]


def _split(job: Job) -> tuple[list[str], dict[str, str]]:
    """A job's switch, if it has one, and its options by key."""
    switch = [word for word in job.options[:1] if word.startswith("--")]
    options = job.options[len(switch) :]
    return switch, dict(zip(options[::2], options[1::2], strict=True))


def from_repository(file: Path) -> str:
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
