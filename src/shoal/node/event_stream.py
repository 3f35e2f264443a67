"""Run a coroutine that reports events through a callback; yield them instead."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from shoal.core.report.events import DownloadEvent, Progress

__all__ = ["stream_events"]

T = TypeVar("T")


async def stream_events(
    start: Callable[[Callable[[DownloadEvent], None]], Coroutine[Any, Any, T]],
    on_later: Callable[[DownloadEvent], None] = lambda event: None,
) -> AsyncGenerator[DownloadEvent | T, None]:
    """Run the coroutine that `start` returns; yield its events and, last, its result.

    Raises what the coroutine raises. Closing the generator early cancels the coroutine
    and waits for its end. A slow consumer skips outdated `Progress` events.
    `on_later` is called with the events that follow the result.
    """
    reported: deque[DownloadEvent] = deque()
    changed = asyncio.Event()

    def report(event: DownloadEvent) -> None:
        if task.done():
            on_later(event)
            return
        if isinstance(event, Progress) and reported:
            if isinstance(reported[-1], Progress):
                reported.pop()
        reported.append(event)
        changed.set()

    task = asyncio.get_running_loop().create_task(start(report))
    task.add_done_callback(lambda _: changed.set())
    try:
        while reported or not task.done():
            if not reported:
                changed.clear()
                await changed.wait()
            while reported:
                yield reported.popleft()
        yield task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # A consumer that closed the generator ignores the error.
