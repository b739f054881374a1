"""Crops from a CSV file: a line of column names, then a line for each image.

Columns: `path`, relative to the file's folder or absolute, and optionally `camera`, `tracklet`, `id` and
`subset` (train, query or gallery; empty is train). Other columns are ignored, and named in the log.
"""

import csv
import logging
from pathlib import Path

from mmt_plugin.data.dataset import DatasetError

from .crops import SUBSETS, TRAIN, Crop

logger = logging.getLogger("fastreid.mmt.data")

COLUMNS = ("path", "camera", "tracklet", "id", "subset")


def read_table(file: Path) -> dict[str, list[Crop]]:
    """All images that a list names, by subset.

    Raises:
        FileNotFoundError: there is no such file.
        DatasetError: naming the line that cannot be used.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {str(file)!r} (csv: in DATASETS)")
    crops = {subset: [] for subset in SUBSETS}
    lines_of: dict[tuple[str, str], int] = {}
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            _check_columns(reader.fieldnames or [], file)
            for row in reader:
                subset, crop = _crop(row, f"{file}, line {reader.line_num}", file.parent)
                first = lines_of.setdefault((subset, crop.path), reader.line_num)
                if first != reader.line_num:
                    raise DatasetError(f"{file}: lines {first} and {reader.line_num} both name {crop.path!r}")
                crops[subset].append(crop)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{str(file)!r} cannot be read as CSV in UTF-8: {error}") from error
    if not lines_of:
        raise DatasetError(f"{str(file)!r} lists no images")
    return crops


def _check_columns(names: list[str], file: Path) -> None:
    names[:] = [name.strip().lower() for name in names]
    if "path" not in names:
        raise DatasetError(
            f"{str(file)!r} has no column path: its first line must name the columns, separated by commas "
            f"({', '.join(COLUMNS)}), but is {','.join(names)[:80]!r}"
        )
    ignored = [name for name in names if name not in COLUMNS]
    if ignored:
        logger.warning(f"{str(file)!r}: ignored the columns {', '.join(map(repr, ignored))}")


def _crop(row: dict[str, str], where: str, folder: Path) -> tuple[str, Crop]:
    if None in row or None in row.values():
        raise DatasetError(f"{where}: more or fewer fields than columns; quote a path that has commas")
    values = {name: value.strip() or None for name, value in row.items() if name in COLUMNS}
    subset, path = values.pop("subset", None) or TRAIN, values.pop("path")
    if path is None:
        raise DatasetError(f"{where}: the path is empty")
    if subset not in SUBSETS:
        raise DatasetError(f"{where}: the subset is {subset!r}; choose one of {', '.join(SUBSETS)}")
    return subset, Crop(str(folder / path), **values)
