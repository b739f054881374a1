"""Records that programs write for one another as JSON. A folder may have come from anybody: what stands in
the place of a record is an error that names it, not one of Python's, and nothing waits for a pipe.
"""

import json
from pathlib import Path
from typing import Any

from .files import DamagedFileError, read_text


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
