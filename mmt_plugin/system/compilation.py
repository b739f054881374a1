"""numba's compiler, with a cache where there can be one."""

import itertools
import pickle
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from filelock import FileLock, Timeout
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import FunctionCache, IndexDataCacheFile

# numba names the parts of what it compiles by a counter that begins with 1 in every process. Parts that two
# processes have compiled, and a third loads, would share names: one function calls the other's parts, and the
# program ends with a segmentation fault. So each process counts from elsewhere.
FunctionIdentity._unique_ids = itertools.count(secrets.randbits(48))
# Seconds for another process's files; compiling is done outside.
LONGEST_WAIT = 60


def njit(*, cache: bool = True, **options: Any) -> Callable[[Callable], Callable]:
    """`numba.njit`, whose cache is a convenience: where nothing can be written (a read-only installation and
    no writable home) or no longer (a full disk, a quota), functions are compiled anew in each process, and a
    warning says so once.

    Args:
        cache: whether to keep what was compiled, for the next process.
        options: those of `numba.njit`.
    """

    def decorate(function: Callable) -> Callable:
        compiled = numba.njit(**options)(function)
        if cache:
            try:
                compiled._cache = _TolerantCache(function)
            except (RuntimeError, OSError) as error:
                _warn_once(str(error))
        return compiled

    return decorate


class _TolerantCache(FunctionCache):
    """numba's own stops the program where its folder cannot be read or written any more.

    It also writes the index of a function before the code that the index names: a process that reads in
    between gets what an earlier version of the source left under that name, and crashes. So they take turns.
    """

    def __init__(self, function: Callable):
        super().__init__(function)
        # Not under the names of numba's own caches: what those hold shares names.
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=f"{self._impl.filename_base}.unique",
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            self._impl.locator.ensure_cache_path()
            with self._alone():
                super().save_overload(sig, data)
        except OSError as error:
            _warn_once(str(error))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            with self._alone():
                return super().load_overload(sig, target_context)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            _warn_once(str(error))
            return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process reads or writes this function's files. Where nobody can write, at once."""
        lock = FileLock(f"{self._cache_file._index_path}.lock", timeout=LONGEST_WAIT)
        try:
            lock.acquire()
        except (OSError, Timeout):
            yield
            return
        try:
            yield
        finally:
            lock.release()


_warned = False


def _warn_once(reason: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"numba cannot keep what it compiles ({reason}); every process compiles anew, which takes some "
            "seconds: set NUMBA_CACHE_DIR to a folder that can be written",
            stacklevel=4,
        )
