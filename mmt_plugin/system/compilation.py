"""numba's compiler, with a cache where there can be one."""

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import FunctionCache


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
    """numba's own stops the program where its folder cannot be read or written any more."""

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(str(error))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            _warn_once(str(error))
            return None


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
