"""What a run keeps for its report: small files of plain arrays, each written whole or not at all."""

from __future__ import annotations

import io
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from mmt_plugin.errors import UserError
from mmt_plugin.system.files import replace_when_complete

# Of a run's folder.
FOLDER = "report"

T = TypeVar("T")


class RecordError(UserError, RuntimeError):
    """A record that cannot be read; the message names the file."""


def save_record(record: object, path: Path) -> None:
    """Write a dataclass of arrays, numbers and strings.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **asdict(record))
    with replace_when_complete(str(path), "wb") as file:
        file.write(buffer.getvalue())


def load_record(kind: type[T], path: Path) -> T | None:
    """Read what `save_record` wrote; None where there is no such file.

    Raises:
        RecordError: the file is damaged, or not of this kind.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values = {field.name: arrays[field.name] for field in fields(kind)}
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        raise RecordError(f"{path} is damaged ({error}): delete it to have a report without it") from error
    return kind(**{name: value.item() if value.ndim == 0 else value for name, value in values.items()})
