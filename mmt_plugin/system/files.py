"""Files that are never half written."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fastreid.utils.file_io import PathManager

from mmt_plugin.errors import DataError, UsageError

# What a file that is being written is called until it is whole.
UNFINISHED = ".unfinished"


class DamagedFileError(DataError):
    """A file that does not hold what its name says; the message names it and says why."""


def read_text(path: Path | str) -> str:
    """A text file, in UTF-8, with or without a byte order mark.

    Raises:
        DamagedFileError: it holds something else, or is no regular file: nothing waits for a pipe.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise DamagedFileError(f"{path} is refused: it is no regular file")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is no text file: {error}") from error


def require_folder(path: Path, option: str) -> None:
    """Make a folder to write to before the work whose results go there.

    Raises:
        UsageError: naming the option, where that cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror
        raise UsageError(f"{option} is {str(path)!r}, where nothing can be written: {reason}") from error


@contextmanager
def replace_when_complete(path: str, mode: str, **kwargs: Any) -> Iterator[IO]:
    """Open a file that takes its name once it is written and synced: readers see the old or the new one, and
    after a power cut, too.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is then untouched.
    """
    unfinished = f"{path}.{os.getpid()}{UNFINISHED}"
    failures: list[OSError] = []
    try:
        try:
            with PathManager.open(unfinished, mode, **kwargs) as file:
                yield _Remembering(file, failures)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:
            # torch reports a failed write as an internal error of its own.
            raise (failures or [error])[0] from error
        os.replace(unfinished, path)
    except OSError as error:
        reason = f"{path} could not be written, what was there before is untouched: {error.strerror or error}"
        raise type(error)(error.errno, reason) from error
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)
    sync_folder(os.path.dirname(path))


class _Remembering:
    """A file that remembers why writing to it failed."""

    def __init__(self, file: IO, failures: list[OSError]):
        self._file, self._failures = file, failures

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self._failures.append(error)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def reserve(file: IO[bytes], num_bytes: int) -> None:
    """Append that many bytes, zeros, for which the disk has room.

    Raises:
        OSError: it has not.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), file.tell(), num_bytes)
        return
    # macOS and Windows: a file that is merely made longer may have holes instead of room.
    zeros = bytes(1 << 20)
    for start in range(0, num_bytes, len(zeros)):
        file.write(zeros[: num_bytes - start])
    file.flush()


def sync_folder(folder: str) -> None:
    """Make a folder's entries, new names among them, survive a power cut."""
    if not hasattr(os, "O_DIRECTORY"):
        return  # a system on which folders cannot be opened
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_whole(source: Path, copy: Path) -> None:
    """Give a file a second name: a link, or where there are none a copy that is never half written."""
    if copy.exists():
        return
    try:
        os.link(source, copy)
    except OSError:
        with source.open("rb") as original, replace_when_complete(str(copy), "wb") as file:
            shutil.copyfileobj(original, file)
    sync_folder(str(copy.parent))


def remove_unfinished(folder: str) -> None:
    """Delete files and folders that a process which was killed while it wrote has left; what a process that
    lives is writing, such as an export, stays. The caller is the only one to train into the folder.
    """
    for name in os.listdir(folder):
        if name.endswith(UNFINISHED) and not _being_written(name):
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.remove(path)


def _being_written(name: str) -> bool:
    """Whether the process in an unfinished file's name is another one that lives."""
    number = name.removesuffix(UNFINISHED).rpartition(".")[2]
    if not number.isdigit() or int(number) == os.getpid():
        return False
    try:
        os.kill(int(number), 0)
    except PermissionError:  # another user's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
