"""Machine code for what goes by in too many small operations; each part needs numba to be imported.

Numba compiles at the first use, for some seconds, and keeps the result on disk.
"""

import functools
from collections.abc import Callable

__all__ = ["compiled", "numba_is_there"]


@functools.cache
def numba_is_there() -> bool:
    """Returns whether numba can be used (`pip install 'pixelar[fast]'`)."""
    try:
        import numba  # noqa: F401
    except ImportError:  # also if it does not get on with the numpy that is there
        return False
    return True


def compiled(fastmath: set[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns a decorator that compiles a function; numba keeps the result on disk where there is a
    place for it.
    """
    import numba

    compile = functools.partial(numba.njit, fastmath=fastmath, error_model="numpy", nogil=True)

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        try:
            return compile(cache=True)(function)
        except RuntimeError:
            return compile()(function)

    return decorate
