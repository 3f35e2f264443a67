"""The caches of all shares that a node reads.

A cache is kept for a while after its last reader is closed: a program that lists files
often opens one next.
"""

import asyncio

from shoal.core.names.link import Link
from shoal.reading.share_cache import ShareCache
from shoal.swarm.member import Registry

__all__ = ["ShareCaches"]

LINGER = 30.0  # seconds in the swarm after the last reader is closed


class ShareCaches:
    """Keep one `ShareCache` for each link that is read."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._open: dict[Link, ShareCache] = {}
        self._idle: dict[Link, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def enter(self, link: Link) -> ShareCache:
        """Return the cache of a share; call `leave` when done."""
        timer = self._idle.pop(link, None)
        if timer is not None:
            timer.cancel()
        cache = self._open.get(link)
        if cache is None:
            cache = self._open[link] = ShareCache(self._registry, link)
        cache.users += 1
        return cache

    def positions(self, share_id: bytes) -> frozenset[int]:
        """Return the chunks of a share that readers wait for, or read last."""
        found = [c.positions for c in self._open.values() if c.link.id == share_id]
        return frozenset().union(*found)

    def leave(self, cache: ShareCache) -> None:
        """Undo one `enter`; after the last, the cache is closed in `LINGER` seconds."""
        cache.users -= 1
        if not cache.users and self._open.get(cache.link) is cache:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(LINGER, self._close, cache.link)
            self._idle[cache.link] = timer

    async def aclose(self) -> None:
        """Leave every swarm; idempotent.

        Raises what went wrong while leaving one, then or earlier.
        """
        for timer in self._idle.values():
            timer.cancel()
        for link in list(self._open):
            self._close(link)
        closing, self._closing = self._closing, set()
        if closing:
            await asyncio.wait(closing)
        for task in closing:
            task.result()

    def _close(self, link: Link) -> None:
        self._idle.pop(link, None)
        task = asyncio.get_running_loop().create_task(self._open.pop(link).aclose())
        self._closing.add(task)
        task.add_done_callback(self._on_closed)

    def _on_closed(self, task: asyncio.Task[None]) -> None:
        """Forget a task that ended well; keep one that failed, for `aclose`."""
        if not task.cancelled() and task.exception() is None:
            self._closing.discard(task)
