"""Connect to a peer of an open channel, and tell why a peer cannot be reached."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from shoal.core.names.address import Address
from shoal.core.session.session import Session
from shoal.errors import PeerError, PeerTimeoutError
from shoal.transport.connection import Connection
from shoal.transport.liveness import watch_silence

__all__ = ["CONNECT_TIME", "dial", "reaching"]

S = TypeVar("S", bound=Session)

CONNECT_TIME = 10.0  # seconds


async def dial(
    connection: Connection[S], address: Address, *, within: float = CONNECT_TIME
) -> None:
    """Connect `connection` to a peer.

    Raises `PeerError` if the peer cannot be reached, `PeerTimeoutError` if that takes
    longer than `within` seconds.
    """
    loop = asyncio.get_running_loop()
    async with reaching(address, within):
        transport, _ = await loop.create_connection(
            lambda: connection, address.host, address.port
        )
        watch_silence(transport)


@asynccontextmanager
async def reaching(address: Address, within: float) -> AsyncIterator[None]:
    """Raise `PeerError` for an `OSError`, `PeerTimeoutError` after `within` seconds."""
    try:
        async with asyncio.timeout(within):
            yield
    except TimeoutError:
        raise PeerTimeoutError(f"{address} did not answer in {within:g} s") from None
    except (OSError, UnicodeError) as error:  # a host name may not fit DNS at all
        reason = getattr(error, "strerror", None) or str(error)
        raise PeerError(f"{address} cannot be reached: {reason}") from error
