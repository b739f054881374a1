"""Records that programs write for one another as JSON. A folder may have come from anybody: what stands in
the place of a record is an error that names it, not one of Python's, and nothing waits for a pipe.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

from mmt_plugin.errors import UserError


class DamagedFileError(UserError, ValueError):
    """A file that does not hold what its name says; the message names it and says why."""


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        DamagedFileError: it is no regular file, or not in UTF-8.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise DamagedFileError(f"{path} is refused: it is no regular file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is no text file: {error}") from error


def read_json(path: Path) -> Any:
    """A file's content.

    Raises:
        DamagedFileError: it is no JSON, nor a regular file.
        OSError: it cannot be read.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is no JSON: {error}") from error
