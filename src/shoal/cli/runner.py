"""Run a command's coroutine until it ends or a signal ends it.

Signals count even when they were ignored by whoever started us, as a shell does
for what it puts in the background. A signal cancels the command, which then
closes what it holds; should that take too long, the process ends regardless:
nothing on the disk depends on an orderly end.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any

from shoal.errors import ShoalError

__all__ = ["InterruptedByUser", "run_command"]

GRACE = 1.7  # seconds a command has to close what it holds


class InterruptedByUser(ShoalError):
    """Say that a signal ended the command."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def run_command(work: Coroutine[Any, Any, None], *, on_interrupt: str = "") -> None:
    """Run `work`; raise `InterruptedByUser`, with `on_interrupt`, on a signal."""
    try:
        asyncio.run(_supervise(work, on_interrupt))
    except BaseExceptionGroup as group:
        raise _first(group) from None
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from trying on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ShoalError("Nobody reads what is written to standard output.") from None


async def _supervise(work: Coroutine[Any, Any, None], on_interrupt: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_ignore_lost_sockets)
    task = loop.create_task(work)
    caught: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        if not caught:
            caught.append(signum)
            timer = threading.Timer(GRACE, _give_up, [128 + signum, on_interrupt])
            timer.daemon = True
            timer.start()
            loop.call_soon_threadsafe(task.cancel)

    # Not the loop's own handlers: they wait for a loop that may be stuck writing to
    # a pipe nobody reads.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not caught:
            raise
    if caught:
        word = "Interrupted" if caught[0] == signal.SIGINT else "Terminated"
        raise InterruptedByUser(f"{word}. {on_interrupt}".strip(), caught[0])


def _give_up(code: int, message: str) -> None:
    """End the process where closing takes too long; the disk does not mind."""
    with contextlib.suppress(OSError):
        os.write(2, f"shoal: Interrupted. {message}\n".encode(errors="replace"))
    os._exit(code)


def _ignore_lost_sockets(
    loop: asyncio.AbstractEventLoop, context: dict[str, Any]
) -> None:
    """Keep asyncio from printing a traceback for what the network does."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in a group that is not a group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
