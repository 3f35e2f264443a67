"""Names with several addresses are tried one shortly after the other (RFC 8305)."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from shoal.core.names.address import Address
from shoal.net.socket_names import host_of
from shoal.transport.dial import connect

HOSTS = ("::1", "127.0.0.1")
NAME = "some.example"
PATIENCE = 10.0  # seconds, far less than the system tries to connect
Loop = type[asyncio.AbstractEventLoop]


class AsyncioLoop(asyncio.SelectorEventLoop):
    """A loop whose methods can be replaced."""


if find_spec("uvloop"):
    import uvloop

    class UvLoop(uvloop.Loop):
        """The same, of the other kind."""

    LOOPS = [AsyncioLoop, UvLoop]
else:
    LOOPS = [AsyncioLoop]


@contextmanager
def listening(*, deaf: frozenset[str] = frozenset()) -> Iterator[list[socket.socket]]:
    """Listen on both families; the addresses in `deaf` drop all packets."""
    with ExitStack() as stack:
        sockets = []
        for host in HOSTS:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = stack.enter_context(socket.socket(family))
            sock.bind((host, 0))
            sock.listen(0)
            sockets.append(sock)
            if host in deaf:
                # Linux drops what comes once this many connections are waiting.
                for _ in range(2):
                    filler = stack.enter_context(socket.socket(family))
                    filler.setblocking(False)
                    filler.connect_ex(sock.getsockname())
        yield sockets


def connected(loop: Loop, sockets: list[socket.socket]) -> str:
    """Connect to a name that has the addresses of these sockets; return the chosen."""
    names = [(each.family, each.getsockname()) for each in sockets]
    address = Address(NAME, names[0][1][1])

    real = socket.getaddrinfo

    def resolve(host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
        if host != address.host:
            return real(host, port, **options)
        return [(family, socket.SOCK_STREAM, 6, "", name) for family, name in names]

    async def dial() -> str:
        async with asyncio.timeout(PATIENCE):
            transport = await connect(asyncio.Protocol, address)
        transport.abort()
        return host_of(transport.get_extra_info("peername"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(dial())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("deaf", [None, *HOSTS])
def test_a_name_is_reached_by_the_family_that_works(
    loop: Loop, deaf: str | None
) -> None:
    """By IPv6 if both do, since the system lists it first."""
    with listening(deaf=frozenset([deaf] if deaf else [])) as sockets:
        assert connected(loop, sockets) == ("127.0.0.1" if deaf == "::1" else "::1")


def test_a_name_with_one_address_is_connected_to() -> None:
    with listening() as sockets:
        assert connected(AsyncioLoop, sockets[1:]) == "127.0.0.1"


def test_a_name_at_which_nothing_listens_is_an_error() -> None:
    with listening() as sockets:
        for each in sockets:
            each.shutdown(socket.SHUT_RDWR)
        with pytest.raises(OSError, match="refused|Multiple"):
            connected(AsyncioLoop, sockets)
