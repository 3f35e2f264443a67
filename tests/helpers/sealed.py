"""Both ends of sealed connections on loopback, and connections of strangers."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from shoal.core.crypto.keys import Keys, derive_keys
from shoal.core.crypto.knock import ClientHandshake, handshake_start
from shoal.core.names.address import Address
from shoal.transport.sealed.dial import dial_sealed
from shoal.transport.sealed.listen import SealedListener
from shoal.transport.sealed.proven import ProvenPeer

__all__ = [
    "CLIENT_ID",
    "KEYS",
    "OTHER_KEYS",
    "PATIENCE",
    "SERVER_ID",
    "Plain",
    "Sealed",
    "answer_to",
    "client_hello",
    "flood",
    "make_knock",
    "open_sealed",
]

KEYS = derive_keys(bytes(range(32)))
OTHER_KEYS = derive_keys(bytes(32))
CLIENT_ID, SERVER_ID = b"c" * 16, b"s" * 16
PATIENCE = 15.0  # seconds; longer than any deadline, so only a hang exceeds it


class Plain(asyncio.BufferedProtocol):
    """Record the decrypted bytes of a connection; with `echo`, send them back."""

    def __init__(self, peer: ProvenPeer, greeting: bytes = b"", *, echo: bool = False):
        self.peer = peer
        self.received = bytearray()
        self.transport: asyncio.Transport
        self.is_lost = False
        self.holds_back = False
        """Whether it pauses after every read until the next round of the loop."""
        self.calls: list[str] = []
        """The calls of `pause_writing` and `resume_writing`."""
        self._greeting = greeting
        self._echo = echo
        self._buffer = memoryview(bytearray(64 * 1024))
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._greeting)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        self.received += data
        if self._echo:
            self.transport.write(data)
        if self.holds_back:
            self.transport.pause_reading()
            loop = asyncio.get_running_loop()
            loop.call_soon(self.transport.resume_reading)
        self._changed.set()

    def pause_writing(self) -> None:
        self.calls.append("pause")
        if self._echo:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.calls.append("resume")
        if self._echo:
            self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._changed.set()

    async def until(self, size: int) -> bytes:
        """Wait until `size` bytes have arrived in total; return them."""
        async with asyncio.timeout(PATIENCE):
            while len(self.received) < size:
                assert not self.is_lost, f"lost after {len(self.received)} bytes"
                self._changed.clear()
                await self._changed.wait()
        return bytes(self.received)

    async def until_lost(self) -> None:
        """Wait until the connection ends."""
        async with asyncio.timeout(PATIENCE):
            while not self.is_lost:
                self._changed.clear()
                await self._changed.wait()


class Sealed:
    """A listener with one share, and the connections that it accepted."""

    def __init__(self, listener: SealedListener) -> None:
        self.listener = listener
        self.address = Address("127.0.0.1", listener.port)
        self.served: list[Plain] = []
        self.greeting = b""
        self.echo = False
        self._served_one = asyncio.Event()

    def serve(self, peer: ProvenPeer) -> Plain:
        """Return the protocol for a new connection of the share."""
        self.served.append(Plain(peer, self.greeting, echo=self.echo))
        self._served_one.set()
        return self.served[-1]

    async def first(self, count: int = 1) -> Plain:
        """Wait until the listener has accepted `count` connections; return the first.

        A client has dialled as soon as it has sent its confirmation.
        """
        async with asyncio.timeout(PATIENCE):
            while len(self.served) < count:
                self._served_one.clear()
                await self._served_one.wait()
        return self.served[0]

    async def dial(self, keys: Keys = KEYS, **arguments: Any) -> Plain:
        """Dial the listener, or another `address`, as a holder."""
        address = arguments.pop("address", self.address)
        node_id = arguments.pop("node_id", CLIENT_ID)
        return await dial_sealed(address, keys, node_id, Plain, **arguments)


def make_knock(keys: Keys, node_id: bytes = CLIENT_ID) -> bytes:
    """Return a new knock for a share."""
    return ClientHandshake(handshake_start(keys), node_id).knock


def client_hello(*, old: bool = False) -> bytes:
    """Return the first bytes of a TLS client; with `old`, of one with only TLS 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if old:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


@asynccontextmanager
async def open_sealed(**limits: Any) -> AsyncIterator[Sealed]:
    """Open a listener on loopback that serves the share of `KEYS`."""
    node_id = limits.pop("node_id", SERVER_ID)
    async with aclosing(
        SealedListener(node_id, hosts=["127.0.0.1"], **limits)
    ) as listener:
        sealed = Sealed(listener)
        listener.register(KEYS, sealed.serve)
        try:
            yield sealed
        finally:
            for each in sealed.served:
                each.transport.abort()


async def answer_to(
    address: Address, data: bytes, *, end: bool = False, source: str | None = None
) -> bytes:
    """Send `data` to an address; return all bytes until the connection closes."""
    loop = asyncio.get_running_loop()
    said = bytearray()
    # A bare socket: a StreamReader forgets what came before an error.
    with socket.socket() as sock:
        sock.setblocking(False)
        if source is not None:
            sock.bind((source, 0))
        async with asyncio.timeout(PATIENCE):
            await loop.sock_connect(sock, tuple(address))
            # On a closed connection this is ENOTCONN, which has no exception class.
            with suppress(OSError):
                await loop.sock_sendall(sock, data)
                if end:
                    sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while piece := await loop.sock_recv(sock, 65_536):
                    said += piece
    return bytes(said)


async def flood(address: Address, count: int) -> list[socket.socket]:
    """Open `count` connections and send nothing."""
    strangers = []
    for _ in range(count):
        strangers.append(socket.socket())
        strangers[-1].setblocking(False)
        strangers[-1].connect_ex(tuple(address))
        await asyncio.sleep(0)
    return strangers
