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
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from shoal.cli.memory import heed_memory_limit
from shoal.cli.output import printable
from shoal.errors import ShoalError, first_error

__all__ = ["InterruptedByUser", "run_command"]

GRACE = 1.7  # seconds a command has to close what it holds


class InterruptedByUser(ShoalError):
    """Say that a signal ended the command."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def run_command(work: Coroutine[Any, Any, None], *, on_interrupt: str = "") -> None:
    """Run `work`; raise `InterruptedByUser`, with `on_interrupt`, on a signal."""
    heed_memory_limit()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_supervise(work, on_interrupt))
    except BaseExceptionGroup as group:
        raise first_error(group) from None
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from trying on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ShoalError("Nobody reads what is written to standard output.") from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's loop, where it is installed; SHOAL_UVLOOP=0 refuses.

    It takes less processor time: docs/design.md, "Two event loops".
    """
    if os.environ.get("SHOAL_UVLOOP") == "0":
        return None
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


async def _supervise(work: Coroutine[Any, Any, None], on_interrupt: str) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    caught: list[int] = []
    out_of_memory: list[object] = []

    def on_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Print no traceback for what the network does, or a lack of memory."""
        error = context.get("exception")
        if isinstance(error, MemoryError):
            out_of_memory.append(error)
            task.cancel()
        elif not (isinstance(error, OSError) or _is_told_twice(context)):
            loop.default_exception_handler(context)

    loop.set_exception_handler(on_exception)

    def stop(signum: int, frame: FrameType | None) -> None:
        if not caught:
            caught.append(signum)
            timer = threading.Timer(GRACE, _give_up, [signum, on_interrupt])
            timer.daemon = True
            timer.start()
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(task.cancel)

    # Not the loop's own handlers: they wait for a loop that may be stuck writing to
    # a pipe nobody reads.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)
    try:
        await task
    except asyncio.CancelledError:
        if out_of_memory:
            raise MemoryError from None
        if not caught:
            raise
    if caught:
        raise InterruptedByUser(_explain(caught[0], on_interrupt), caught[0])


def _is_told_twice(context: dict[str, Any]) -> bool:
    """Say whether asyncio had nobody left to tell that a transport is lost.

    It tells so twice when a socket fails just as its protocol may write on.
    """
    return "_call_connection_lost" in context.get("message", "")


def _explain(signum: int, message: str) -> str:
    word = "Interrupted" if signum == signal.SIGINT else "Terminated"
    return f"{word}. {message}".strip()


def _give_up(signum: int, message: str) -> None:
    """End the process where closing takes too long; the disk does not mind."""
    said = f"shoal: {printable(_explain(signum, message))}\n"
    with contextlib.suppress(OSError):
        os.write(2, said.encode(errors="replace"))
    os._exit(128 + signum)
