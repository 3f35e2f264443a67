"""Addresses that the user named with --peer, offered without any search."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from shoal.core.names.address import Address
from shoal.errors import told

__all__ = ["StaticDiscovery"]


class StaticDiscovery:
    """Offer a fixed list of addresses as if they had been discovered."""

    name = "peer"

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.problem: str | None = None
        """Always None: a list cannot fail."""
        self._addresses = tuple(addresses)
        self._closed = asyncio.Event()

    @property
    def reach(self) -> str:
        """Name the option that the addresses come from."""
        return told("--peer", "the peers given")

    async def join(
        self,
        topic: bytes,
        port: int | None,
        *,
        is_awaited: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[Address, None]:
        """Yield every address once, then wait; nothing is announced."""
        for address in self._addresses:
            yield address
        await self._closed.wait()

    def refresh(self, hosts: Sequence[str]) -> None:
        """Do nothing: the addresses stay, and the peer book dials them again."""

    async def aclose(self) -> None:
        """End all iterators; idempotent."""
        self._closed.set()
