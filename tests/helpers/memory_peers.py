"""Peers of one small share on a `memory_net`, and one that says what a test says."""

import asyncio

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.manifest import Manifest, build_manifest
from shoal.core.names.address import Address
from shoal.core.report.events import PeerJoined, PeerLeft
from shoal.core.wire.messages import encode_frame
from shoal.core.wire.sealed_messages import (
    SealedMessage,
    decode_sealed,
)
from tests.helpers.memory_net import Member, MemoryNet, MemoryTransport
from tests.helpers.memory_store import MemoryStore
from tests.helpers.transient import TransientStore
from tests.helpers.wire import Content

__all__ = [
    "CONTENT",
    "MANIFEST",
    "SIZE",
    "Raw",
    "fetch",
    "joined",
    "left",
    "manifest_of",
    "raw",
    "source",
]

SIZE = 16_384
CONTENT = Content.make(40 * SIZE - 3, SIZE)


def manifest_of(content: Content, salt: bytes = bytes(16)) -> Manifest:
    digests = b"".join(chunk_digest(content.chunk(i)) for i in range(content.count))
    size, chunk_size = len(content.data), content.chunk_size
    return build_manifest("x", size, chunk_size, digests, salt=salt)


MANIFEST = manifest_of(CONTENT)


def source(
    net: MemoryNet, content: Content = CONTENT, limit_up: float | None = None
) -> Member:
    """Return a member that has everything."""
    manifest = manifest_of(content)
    member = net.join(manifest.id, limit_up=limit_up)
    store = MemoryStore(manifest.chunks)
    for index in range(content.count):
        store.put(index, content.chunk(index))
    member.swarm.serve(manifest, store)
    return member


async def fetch(member: Member) -> TransientStore:
    """Fetch everything, as `get` does."""
    manifest = await member.swarm.load(lambda m: range(m.page_count))
    store = TransientStore(manifest.chunks)
    await member.swarm.fetch(store)
    return store


class Raw(asyncio.BufferedProtocol):
    """A peer that says what the test says, and keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[SealedMessage] = []
        self.is_lost = False
        self.transport: MemoryTransport
        self._buffer = bytearray(1 << 20)
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, MemoryTransport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self._rest += self._buffer[:nbytes]
        while (size := _frame_size(self._rest)) is not None:
            head, length = size
            if len(self._rest) < head + length:
                return
            message = decode_sealed(self._rest[head : head + length])
            self._rest = self._rest[head + length :]
            if message is not None:
                self.heard.append(message)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True

    def say(self, *messages: SealedMessage) -> None:
        self.transport.write(b"".join(map(encode_frame, messages)))


def _frame_size(data: bytes) -> tuple[int, int] | None:
    length = 0
    for place, byte in enumerate(data[:4]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return place + 1, length
    return None


def raw(net: MemoryNet, member: Member, host: str = "10.0.9.9") -> Raw:
    """Connect a peer of the test's own with a member."""
    peer = Raw()
    net.connect(host, b"r" * 16, member.address, lambda proven: peer)
    return peer


def joined(member: Member) -> list[Address]:
    return [e.address for e in member.events if isinstance(e, PeerJoined)]


def left(member: Member) -> list[PeerLeft]:
    return [event for event in member.events if isinstance(event, PeerLeft)]
