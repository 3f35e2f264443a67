"""Do with little memory where the user allows only little.

`ulimit -v` limits addresses, not memory. For each thread glibc sets 64 MiB of them
aside that mostly are never used; with a limit, threads share one such region.
"""

import contextlib
import threading

__all__ = ["heed_memory_limit"]

_M_ARENA_MAX = -8  # of mallopt(3)
_STACK_SIZE = 1 << 20  # bytes of each thread, instead of 8 MiB


def heed_memory_limit() -> None:
    """Take up few addresses if there is a limit; call it before threads start."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    import ctypes

    threading.stack_size(_STACK_SIZE)
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
