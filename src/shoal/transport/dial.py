"""Connect to an address, and tell why a peer cannot be reached."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from shoal.core.names.address import Address
from shoal.core.session.session import Session
from shoal.errors import PeerError, PeerTimeoutError
from shoal.net.resolver import look_up
from shoal.net.socket_names import host_of
from shoal.transport.connection import Connection
from shoal.transport.liveness import watch_silence

__all__ = ["ATTEMPT_DELAY", "CONNECT_TIME", "connect", "dial", "reaching"]

P = TypeVar("P", bound=asyncio.BaseProtocol)
S = TypeVar("S", bound=Session)

CONNECT_TIME = 10.0  # seconds
ATTEMPT_DELAY = 0.25  # seconds until another address is tried, too; RFC 8305 section 5


async def dial(
    connection: Connection[S], address: Address, *, within: float = CONNECT_TIME
) -> None:
    """Connect `connection` to a peer.

    Raises `PeerError` if the peer cannot be reached, `PeerTimeoutError` if that takes
    longer than `within` seconds.
    """
    async with reaching(address, within):
        transport = await connect(lambda: connection, address)
        watch_silence(transport)


async def connect(factory: Callable[[], P], address: Address) -> asyncio.Transport:
    """Connect the protocol that `factory` makes; raises `OSError` or `UnicodeError`.

    The addresses of a name are tried in the order of the system, but IPv4 and IPv6 in
    turn (RFC 8305), each a little later than the one before: a network that drops the
    packets of one family costs `ATTEMPT_DELAY` and not the connection.
    """
    loop = asyncio.get_running_loop()
    host, port = address
    if not (":" in host or host.replace(".", "").isdigit()):
        found = await look_up(host, port)
        if len(found) > 1:
            from aiohappyeyeballs import start_connection

            delay = ATTEMPT_DELAY
            sock = await start_connection(
                found, happy_eyeballs_delay=delay, interleave=1, loop=loop
            )
            transport, _ = await loop.create_connection(factory, sock=sock)
            return transport
        host = host_of(found[0][4])
    transport, _ = await loop.create_connection(factory, host, port)
    return transport


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
