"""Machine code for computations that would take too many small operations; needs numba.

Numba compiles at the first use, which takes some seconds and is reported in a line, and keeps the
result on disk.
"""

import functools
import warnings
from collections.abc import Callable

from pixelar.errors import Advice

__all__ = ["compiled", "numba_is_there"]

KEPT = "it is kept on disk for the next time"
NOT_KEPT = (
    "there is no directory to keep it in, so every process does it again; "
    "set NUMBA_CACHE_DIR to one that can be written"
)


@functools.cache
def numba_is_there() -> bool:
    """Returns whether numba can be used (`pip install 'pixelar[fast]'`)."""
    try:
        import numba  # noqa: F401
    except ImportError:  # also if it does not support the installed numpy
        return False
    return True


def compiled(fastmath: set[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns a decorator that compiles a function; numba keeps the result on disk where there is a
    directory for it.
    """
    import numba
    from numba.core.event import Event, Listener, install_listener

    class Notice(Listener):
        """Reports once that something is being compiled."""

        def __init__(self, after: str) -> None:
            self.after = after

        def on_start(self, event: Event) -> None:
            if self.after:
                text = f"compiling machine code, which takes some seconds: {self.after}"
                warnings.warn(text, Advice, stacklevel=2)
            self.after = ""

        def on_end(self, event: Event) -> None:
            """Does nothing: a second kernel may follow, which is not reported again."""

    compile = functools.partial(numba.njit, fastmath=fastmath, error_model="numpy", nogil=True)

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        after = KEPT
        try:
            kernel = compile(cache=True)(function)
        except RuntimeError:
            kernel, after = compile()(function), NOT_KEPT

        @functools.wraps(function)
        def call(*args: object) -> None:
            # numba reports what it compiles, and not what it reads from disk
            with install_listener("numba:compile", Notice(after)):
                kernel(*args)

        return call

    return decorate
