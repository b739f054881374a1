"""A grid: rows of a table, each a recipe with overrides, as a YAML file says them.

title: what the table is about
config: ../synthetic/plaza2metro_mmt.yml      # relative to the grid, as all its paths
overrides: {SOLVER.MAX_EPOCH: 4}              # of every row
reference: MMT                                # the row that the others are compared with
curves: [MMT, baseline]                       # rows whose curves are drawn; by default all that train
rows:
  direct transfer: {kind: source}
  BN statistics only: {kind: bn_statistics}
  baseline: {config: ../synthetic/plaza2metro_baseline.yml}
  MMT:
    cost: 2.5                                 # computing of an iteration; that of other rows is 1
  constant alpha:
    overrides: {MMT.EMA.WARMUP: False}
    reference: MMT                            # instead of the grid's
    note: one line about it
  both:
    kind: ranking
    config: ../evaluate/synthmetro.yml
    runs: [MMT, constant alpha]               # rows above, ranked together
    camera: ../camera/synthmetro.yml          # of a camera model, if there is to be one
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any

import yaml

from mmt_plugin.config import ConfigError, check_config, check_evaluation, load_config

from .errors import AblationError
from .settings import expected_settings, source_seeds

# "train": the whole recipe. "source": its first source model as it is, in the target's world.
# "bn_statistics": that model, its BN statistics re-estimated on the target's training images.
# "ranking": rows that were trained, as one entry of tools/evaluate.py.
KINDS = ("train", "source", "bn_statistics", "ranking")
GRID_KEYS = {"title", "config", "overrides", "reference", "curves", "rows"}
ROW_KEYS = {"kind", "config", "overrides", "reference", "cost", "note", "runs", "camera"}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: in the table.
        kind: of KINDS.
        config: its recipe's file.
        overrides: of the recipe, by dotted key; names in MMT.WEIGHTS may hold {seed}, {source1}, {source2}.
        reference: name of the row that it is compared with, or None.
        cost: computing of one iteration, in a unit common to the grid's rows.
        note: what is to be said of it, or "".
        runs: of a ranking, the rows whose models are ranked together.
        camera: of a ranking, the camera model's configuration file, or None.
    """

    name: str
    kind: str
    config: Path
    overrides: Mapping[str, Any]
    reference: str | None = None
    cost: float = 1.0
    note: str = ""
    runs: tuple["Row", ...] = ()
    camera: Path | None = None

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return slug(self.name)

    def options(self, seed: int) -> list:
        """Overrides as KEY VALUE pairs, for one seed."""
        words = []
        for key, value in self.overrides.items():
            if key == "MMT.WEIGHTS":
                first, second = source_seeds(seed)
                value = str(value).format(seed=seed, source1=first, source2=second)
            words += [key, value]
        return [*words, "SEED", seed]


@dataclass(frozen=True)
class Grid:
    """A table to be filled.

    Attributes:
        path: of its file.
        title: of the table.
        rows: in the table's order.
        curves: names of the rows whose learning curves are drawn.
    """

    path: Path
    title: str
    rows: tuple[Row, ...]
    curves: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    def named(self, names: Sequence[str]) -> list[Row]:
        """Some rows, by name or slug, in the table's order.

        Raises:
            AblationError: there is no such row.
        """
        unknown = [name for name in names if not any(name in (row.name, row.slug) for row in self.rows)]
        if unknown:
            raise AblationError(f"{self.path}: there is no row {unknown[0]!r}; there are {self._row_names()}")
        return [row for row in self.rows if {row.name, row.slug} & set(names)]

    def _row_names(self) -> str:
        return ", ".join(repr(row.name) for row in self.rows)


def slug(name: str) -> str:
    """A row's name as a file name: MMT+, no margin -> mmt_plus_no_margin."""
    words = "".join(c if c.isalnum() else " " for c in name.lower().replace("+", " plus "))
    return "_".join(words.split())


def load_grid(path: Path, options: Sequence = ()) -> Grid:
    """Read a grid, and see that every row's configuration can be trained.

    Args:
        path: of the file.
        options: KEY VALUE pairs that override every row.

    Raises:
        AblationError: naming file, row and key.
    """
    tree = _read(path)
    _refuse_unknown(f"{path}", tree, GRID_KEYS)
    rows = tree.get("rows")
    if not isinstance(rows, dict) or not rows:
        raise AblationError(f"{path}: rows must name at least one row")
    common = {key: tree.get(key) for key in ("config", "reference")}
    common["overrides"] = _mapping(f"{path}", tree.get("overrides"))
    last = dict(zip(options[::2], options[1::2], strict=False))
    if len(options) % 2:
        raise AblationError(f"--opts are pairs KEY VALUE; {options[-1]!r} has no value")
    table: list[Row] = []
    for name, entry in rows.items():
        table.append(_row(path, str(name), entry, common, last, table))
    curves = tree.get("curves") or [row.name for row in table if row.kind == "train"]
    title = str(tree.get("title") or path.stem)
    grid = Grid(path, title, tuple(table), tuple(curves))
    references = [row.reference for row in table if row.reference]
    for key, names in (("reference", references), ("curves", grid.curves)):
        for name in names:
            if name not in [row.name for row in grid.rows]:
                raise AblationError(f"{path}: {key}: there is no row {name!r}; there are {grid._row_names()}")
    _refuse_equal_slugs(grid)
    for row in grid.rows:
        _check_row(grid, row)
    return grid


def _row(path: Path, name: str, entry: Any, common: dict, last: dict, above: Sequence[Row]) -> Row:
    place = f"{path}: row {name!r}"
    entry = _mapping(place, entry)
    _refuse_unknown(place, entry, ROW_KEYS)
    kind, config = entry.get("kind", "train"), entry.get("config") or common["config"]
    if kind not in KINDS:
        raise AblationError(f"{place}: kind is {kind!r}; choose one of {', '.join(KINDS)}")
    if not config:
        raise AblationError(f"{place}: name a config, in the row or in the grid")
    file = _file(place, path, "config", config)
    overrides = common["overrides"] | _mapping(place, entry.get("overrides")) | last
    reference = entry.get("reference") or common["reference"]
    reference = None if reference == name else reference
    cost = entry.get("cost", 1.0)
    if not isinstance(cost, (int, float)) or not cost > 0:
        raise AblationError(f"{place}: cost is {cost!r}; it is a number above 0")
    runs, camera = _ranked(place, kind, entry.get("runs") or [], above), entry.get("camera")
    camera = _file(place, path, "camera", camera) if camera else None
    note = str(entry.get("note") or "")
    return Row(name, kind, file, overrides, reference, float(cost), note, runs, camera)


def _file(place: str, grid: Path, key: str, name: str) -> Path:
    file = Path(normpath(grid.parent / name))
    if not file.is_file():
        raise AblationError(f"{place}: {key} is {name!r}: there is no {file}")
    return file


def _ranked(place: str, kind: str, names: Sequence[str], above: Sequence[Row]) -> tuple[Row, ...]:
    """The rows that a ranking is of."""
    if bool(names) != (kind == "ranking"):
        raise AblationError(f"{place}: kind ranking, and only that, names runs")
    trained = {row.name: row for row in above if row.kind == "train"}
    unknown = [name for name in names if name not in trained]
    if unknown:
        raise AblationError(
            f"{place}: runs: no row {unknown[0]!r} that trains stands above; there are {', '.join(trained)}"
        )
    return tuple(trained[name] for name in names)


def _check_row(grid: Grid, row: Row) -> None:
    try:
        cfg = load_config(row.config, row.options(1))
        if row.kind == "ranking":
            check_evaluation(cfg)
        elif len(source_seeds(1)) < cfg.MMT.NUM_PAIRS:
            raise ConfigError(f"MMT.NUM_PAIRS is {cfg.MMT.NUM_PAIRS}; a seed has two source models")
        else:
            check_config(cfg)
        if len(cfg.DATASETS.TESTS) != 1:
            raise ConfigError(
                f"DATASETS.TESTS is {tuple(cfg.DATASETS.TESTS)}; a table's numbers are of one test set"
            )
        expected_settings(row, 1)
    except (ConfigError, FileNotFoundError, KeyError) as error:
        raise AblationError(f"{grid.path}: row {row.name!r}: {error}") from error


def _refuse_equal_slugs(grid: Grid) -> None:
    seen: dict[str, str] = {}
    for row in grid.rows:
        if row.slug in seen:
            raise AblationError(
                f"{grid.path}: {seen[row.slug]!r} and {row.name!r} would share the file name {row.slug!r}"
            )
        seen[row.slug] = row.name


def _refuse_unknown(place: str, entry: Mapping, known: set[str]) -> None:
    unknown = sorted(map(str, entry.keys() - known))
    if unknown:
        raise AblationError(f"{place}: there is no key {unknown[0]}; choose from {', '.join(sorted(known))}")


def _mapping(place: str, value: Any) -> dict:
    if value is not None and not isinstance(value, dict):
        raise AblationError(f"{place}: {value!r} is no mapping KEY: VALUE")
    return value or {}


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently keep the last."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.composer.ComposerError(None, None, f"{twice!r} stands twice", node.start_mark)
        return node


def _read(path: Path) -> dict:
    try:
        tree = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AblationError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise AblationError(f"{path} is no grid: it must be a mapping with config and rows")
    return tree
