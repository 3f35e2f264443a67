"""A socket that fails while data is written to it."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from shoal.cli.runner import run_command
from shoal.core.crypto.noise import Cipher, Ciphers
from shoal.transport.sealed.noise import NoiseConnection

CHUNK = 4 * 1024 * 1024  # bytes


class Plain(asyncio.BufferedProtocol):
    """Receive the plain bytes and ignore them."""

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(bytearray(1024))


class Below(asyncio.Transport):
    """Stand in for the transport of a socket that may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.fails = False
        self._is_closing = False

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))
        self._is_closing = self.fails

    def abort(self) -> None:
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing


async def test_nothing_is_encrypted_for_a_failed_transport() -> None:
    ciphers = Ciphers(Cipher(bytes(32)), Cipher(bytes(32)), bytes(32))
    noise, below = NoiseConnection(ciphers, Plain), Below()
    noise.connection_made(below)
    below.fails = True
    noise.write(bytes(CHUNK))
    assert len(below.sent) == 1
    assert len(below.sent[0]) < CHUNK


class Resumed(asyncio.Protocol):
    """Write when writing resumes, just after the peer has closed."""

    def __init__(self, peer: socket.socket) -> None:
        self.ended = asyncio.Event()
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)

    def resume_writing(self) -> None:
        self._peer.close()
        self._transport.write(b"x")

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set()


@pytest.fixture
def signals() -> Iterator[None]:
    """Restore the signal handlers that a command replaces."""
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("signals")
def test_a_peer_that_closes_while_writing_resumes_causes_no_traceback(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(
            lambda: Resumed(peer), sock=ours
        )
        while not transport.get_write_buffer_size():
            transport.write(bytes(65536))
        while not protocol.ended.is_set():
            with suppress(OSError):
                peer.recv(1 << 20)
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # run the callbacks scheduled with call_soon

    run_command(work())
    assert capfd.readouterr().err == ""
    assert not caplog.records
