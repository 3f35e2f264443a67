"""Let a caller watch something that goes on: what it reports, then how it ended."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from shoal.core.report.events import DownloadEvent, Progress

__all__ = ["watched"]

T = TypeVar("T")


async def watched(
    start: Callable[[Callable[[DownloadEvent], None]], Coroutine[Any, Any, T]],
) -> AsyncGenerator[DownloadEvent | T, None]:
    """Run what `start` returns; yield what it reports and, last, what it returns.

    It is cancelled, and waited for, when the generator is closed before its end.
    Who takes his time misses progress that newer progress has made stale.
    """
    reported: deque[DownloadEvent] = deque()
    news = asyncio.Event()

    def report(event: DownloadEvent) -> None:
        if isinstance(event, Progress) and reported:
            if isinstance(reported[-1], Progress):
                reported.pop()
        reported.append(event)
        news.set()

    task = asyncio.get_running_loop().create_task(start(report))
    task.add_done_callback(lambda _: news.set())
    try:
        while reported or not task.done():
            if not reported:
                news.clear()
                await news.wait()
            while reported:
                yield reported.popleft()
        yield task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # whoever left early does not want to hear of it
