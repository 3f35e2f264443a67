"""The addresses on their way from a search to whoever iterates over it.

A feed belongs to one search: the search puts and closes, the iterator gets. It is
bounded, and an address that is still waiting is not put in a second time.
"""

import asyncio
from collections.abc import Iterable

from shoal.core.names.address import Address

__all__ = ["MAX_WAITING", "Feed"]

MAX_WAITING = 1000  # addresses; the rest is heard again with the next pass


class Feed:
    """Hand addresses from one task to another."""

    def __init__(self) -> None:
        self._waiting: dict[Address, None] = {}
        self._has_news = asyncio.Event()
        self._is_closed = False

    def put(self, addresses: Iterable[Address]) -> None:
        """Add addresses; never blocks, drops what does not fit."""
        for address in addresses:
            if len(self._waiting) < MAX_WAITING:
                self._waiting[address] = None
        self._has_news.set()

    def close(self) -> None:
        """End the feed for whoever gets from it; idempotent."""
        self._is_closed = True
        self._has_news.set()

    async def get(self) -> Address | None:
        """Return the address that has waited longest, None once closed."""
        while not self._is_closed:
            if self._waiting:
                address = next(iter(self._waiting))
                del self._waiting[address]
                return address
            self._has_news.clear()
            await self._has_news.wait()
        return None
