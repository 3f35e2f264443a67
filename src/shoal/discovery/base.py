"""The interface of every way of finding peers: join a topic, receive addresses.

A discovery only yields addresses, again and again as it hears them. The peer book
decides which to dial and how often, and which are duplicates.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Protocol

from shoal.core.names.address import Address

__all__ = ["TOPIC_SIZE", "AddressQueue", "Discovery"]

TOPIC_SIZE = 20  # bytes; a SHA-1, because the mainline DHT requires that (BEP 5)


class Discovery(Protocol):
    """Find peers on one network (LAN, DHT, a fixed list)."""

    name: str
    """The network's name in messages: `lan`, `dht`, `peer`."""

    @property
    def problem(self) -> str | None:
        """A sentence for the user: the current failure, and what still works."""
        ...

    @property
    def reach(self) -> str:
        """Describe the network and its state: `the DHT (4 nodes answered)`."""
        ...

    def join(
        self,
        topic: bytes,
        port: int | None,
        *,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[Address, None]:
        """Yield addresses of the topic's peers for as long as it is iterated.

        With a `port`, this node is also announced under the topic until the iterator
        is closed. While `is_awaited` returns False, no caller waits for peers, and a
        network may look for them less often. The same address may be yielded many
        times. Only `aclose`, the iterator's or the discovery's, ends the iterator.
        """
        ...

    def refresh(self, hosts: Sequence[str]) -> None:
        """Look for every topic and announce it at once.

        The addresses of this machine have changed, or it was asleep. `hosts` are those
        to use, `0.0.0.0` for all.
        """
        ...

    async def aclose(self) -> None:
        """Close every socket and end all iterators; idempotent."""
        ...


class AddressQueue:
    """Pass addresses from a discovery's task to the caller that iterates over a topic.

    The queue is bounded and never blocks the task: an address that does not fit is
    dropped, since it will be heard again. One that is waiting is not added twice.
    """

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` addresses."""
        self._limit = limit
        self._waiting: dict[Address, None] = {}
        self._has_changed = asyncio.Event()
        self._is_closed = False

    def put(self, addresses: Iterable[Address]) -> None:
        """Add those of the addresses that fit."""
        for address in addresses:
            if len(self._waiting) < self._limit:
                self._waiting[address] = None
        self._has_changed.set()

    def close(self) -> None:
        """Make `get` return None from now on; idempotent."""
        self._is_closed = True
        self._has_changed.set()

    async def get(self) -> Address | None:
        """Return the address that has waited longest, None once closed."""
        while not self._is_closed:
            if self._waiting:
                address = next(iter(self._waiting))
                del self._waiting[address]
                return address
            self._has_changed.clear()
            await self._has_changed.wait()
        return None
