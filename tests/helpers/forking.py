"""Run code in a forked child, which shares the memory and files of the test."""

import os
import signal
from collections.abc import Callable

__all__ = ["in_child"]

_PATIENCE = 20  # seconds


def in_child(work: Callable[[], None]) -> int:
    """Run a function in a forked child; return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(_PATIENCE)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
