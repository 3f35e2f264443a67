"""Connect to a peer, within a time, from the interfaces that are allowed."""

import asyncio
from typing import TypeVar

from shoal.core.names.address import Address
from shoal.core.session.session import Session
from shoal.errors import PeerError, PeerTimeoutError
from shoal.transport.connection import Connection
from shoal.transport.liveness import watch_silence

__all__ = ["CONNECT_TIME", "dial"]

S = TypeVar("S", bound=Session)

CONNECT_TIME = 10.0  # seconds


async def dial(
    connection: Connection[S], address: Address, *, within: float = CONNECT_TIME
) -> None:
    """Connect `connection` to a peer.

    Raises `PeerError` when the peer cannot be reached, `PeerTimeoutError` when it
    takes longer than `within` seconds.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within):
            transport, _ = await loop.create_connection(
                lambda: connection, address.host, address.port
            )
            watch_silence(transport)
    except TimeoutError:
        raise PeerTimeoutError(f"{address} did not answer in {within:g} s") from None
    except (OSError, UnicodeError) as error:  # a host name may not fit DNS at all
        reason = getattr(error, "strerror", None) or str(error)
        raise PeerError(f"{address} cannot be reached: {reason}") from error
