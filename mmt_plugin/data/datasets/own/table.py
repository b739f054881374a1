"""Crops from a CSV file: a line of column names, then a line for each image.

Columns: `path`, relative to the file's folder or absolute, and optionally `camera`, `tracklet`, `id`,
`frame` and `subset` (train, query or gallery; empty is train). Spaces around a field do not belong to it,
empty lines are passed over. Other columns are ignored, and named in the log.
"""

import csv
import logging
from pathlib import Path

from mmt_plugin.data.dataset import DatasetError
from mmt_plugin.errors import MissingFileError

from .known import SUBSETS, TRAIN, Crop, Crops
from .names import GROUPS

logger = logging.getLogger("fastreid.mmt.data")

COLUMNS = ("path", *GROUPS, "subset")
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_table(file: Path) -> Crops:
    """All images that a list names, by subset.

    Raises:
        MissingFileError: there is no such file.
        DatasetError: naming the line that cannot be used.
    """
    if not file.is_file():
        raise MissingFileError(f"there is no file {str(file)!r} (csv: in DATASETS)")
    crops = {subset: [] for subset in SUBSETS}
    lines_of: dict[tuple[str, str], int] = {}
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, skipinitialspace=True)
            columns = _columns(next(reader, []), file)
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                subset, crop = _crop(fields, columns, f"{file}, line {reader.line_num}", file.parent)
                first = lines_of.setdefault((subset, crop.path), reader.line_num)
                if first != reader.line_num:
                    raise DatasetError(f"{file}: lines {first} and {reader.line_num} both name {crop.path!r}")
                crops[subset].append(crop)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{str(file)!r} cannot be read as CSV in UTF-8: {error}") from error
    if not lines_of:
        raise DatasetError(f"{str(file)!r} lists no images")
    wanted = {
        name: f"the column {name} of {str(file)!r} is empty"
        if name in columns
        else f"{str(file)!r} has no column {name}; its columns are {', '.join(columns)}"
        for name in GROUPS
    }
    return Crops(**crops, wanted=wanted)


def _columns(names: list[str], file: Path) -> list[str]:
    """The columns' names, small.

    Raises:
        DatasetError: there is no path, or a column is there twice.
    """
    columns = [name.strip().lower() for name in names]
    if "path" not in columns:
        header = ",".join(columns)
        other = next((word for sign, word in OTHER_DELIMITERS.items() if sign in header), None)
        raise DatasetError(
            f"{str(file)!r} has no column path: its first line must name the columns, separated by commas "
            f"({', '.join(COLUMNS)}), but is {header[:80]!r}"
            + (f". Its columns seem to be separated by {other}: write commas" if other else "")
        )
    twice = sorted({name for name in columns if name in COLUMNS and columns.count(name) > 1})
    if twice:
        raise DatasetError(f"{str(file)!r} has the column {twice[0]} twice: rename one")
    ignored = [name for name in columns if name not in COLUMNS]
    if ignored:
        logger.warning(f"{str(file)!r}: ignored the columns {', '.join(map(repr, ignored))}")
    return columns


def _crop(fields: list[str], columns: list[str], where: str, folder: Path) -> tuple[str, Crop]:
    if len(fields) != len(columns):
        raise DatasetError(f"{where}: more or fewer fields than columns; quote a path that has commas")
    row = dict(zip(columns, fields, strict=True))
    values = {name: row[name].strip() or None for name in COLUMNS if name in row}
    subset, path = values.pop("subset", None) or TRAIN, values.pop("path")
    if path is None:
        raise DatasetError(f"{where}: the path is empty")
    if subset not in SUBSETS:
        raise DatasetError(f"{where}: the subset is {subset!r}; choose one of {', '.join(SUBSETS)}")
    return subset, Crop(str(folder / path), **values)
