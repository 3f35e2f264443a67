"""A scripted peer that has the link of a sealed share and need not be honest.

A `Holder` listens or dials with the real handshake and encryption, or joins a
`MemoryNet`; then it sends the messages that its methods choose. It is honest unless a
subclass overrides one of them:

class FlipsABit(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(index, flipped(self.holding.chunk(index)))

async with FlipsABit(holding) as liar, Holder(holding) as honest:
    await fetch_sealed(holding.link, tmp_path, [liar.address, honest.address])
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Self, TypeAlias

from msgspec import Struct

from shoal.core.crypto.hashes import block_digests, chunk_digest
from shoal.core.manifest.blocks import BLOCK_SIZE, Run
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.manifest.file_pages import FileEntry
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.core.names.address import Address
from shoal.core.names.link import Link
from shoal.core.wire.framing import FrameReader
from shoal.core.wire.messages import encode_frame
from shoal.core.wire.sealed_messages import (
    MAX_BITFIELD,
    BitfieldPiece,
    BlockRequest,
    Blocks,
    Goodbye,
    Have,
    Hello,
    Page,
    Refuse,
    SealedMessage,
    SealedRequest,
    SealedResponse,
    Want,
    decode_sealed,
    response_frame,
)
from shoal.transport.sealed.dial import dial_sealed
from shoal.transport.sealed.listen import SealedListener
from shoal.transport.sealed.proven import ProvenPeer

__all__ = [
    "Chunk",
    "Heard",
    "Holder",
    "Holding",
    "SlowHolder",
    "Talk",
    "holding_of",
    "Passive",
    "make_holding",
]

MAX_FRAME = 17 << 20  # bytes; larger than any frame of a node
PATIENCE = 30.0  # seconds


class Chunk(Struct, frozen=True):
    """A response and the data after it."""

    index: int
    data: bytes

    def encoded(self) -> bytes:
        """Return the bytes of both."""
        return response_frame(self.index, len(self.data)) + self.data


Heard: TypeAlias = SealedMessage | Chunk


class Holding(NamedTuple):
    """The manifest and the chunks of one share."""

    link: Link
    root: bytes
    pages: Mapping[PageKey, bytes]
    chunks: Chunks
    chunk: Callable[[int], bytes]
    """Return the correct bytes of a chunk."""

    @property
    def full(self) -> bytes:
        """Return the bitfield of a peer that has every chunk."""
        return bytes(Bitfield.full(self.chunks.count))

    def some(self, indexes: Iterable[int]) -> bytes:
        """Return the bitfield of a peer that has these chunks."""
        have = Bitfield(self.chunks.count)
        for index in indexes:
            have.add(index)
        return bytes(have)


def make_holding(
    data: bytes | int,
    *,
    chunk_size: int = 16_384,
    name: str = "data",
    files: Sequence[FileEntry] | None = None,
) -> Holding:
    """Return a share of a file with these bytes, or with this many random bytes.

    With `files`, it is a folder with these entries.
    """
    if isinstance(data, int):
        data = random.Random(data).randbytes(data)
    chunks = Chunks(len(data), chunk_size)
    whole = data

    def chunk(index: int) -> bytes:
        start = chunks.offset(index)
        return whole[start : start + chunks.length(index)]

    digests = b"".join(chunk_digest(chunk(i)) for i in range(chunks.count))
    salt = bytes(16)
    manifest = build_manifest(name, len(data), chunk_size, digests, files, salt=salt)
    return holding_of(manifest, chunk)


def holding_of(manifest: Manifest, chunk: Callable[[int], bytes]) -> Holding:
    """Return the `Holding` of a peer with a complete manifest."""
    pages = {key: manifest.page(key) or b"" for key in manifest.keys()}
    link = Link(manifest.id)
    return Holding(link, manifest.root_record, pages, manifest.chunks, chunk)


class Talk(asyncio.BufferedProtocol):
    """One connection between a holder and a node."""

    def __init__(self, holder: "Holder") -> None:
        self.holder = holder
        self.received: list[Heard] = []
        """All messages of the node, in order."""
        self.announced: set[int] = set()
        """Chunks that the node announced."""
        self.wanted: set[int] | None = None
        """Chunks that the node wants; None for all."""
        self.is_lost = False
        self.transport: asyncio.Transport
        self._reader = FrameReader(MAX_FRAME)
        self._sent: set[int] = set()
        self._coming: SealedResponse | None = None

    @property
    def requested(self) -> list[int | None]:
        """Return the requests of the node in order; None is one for any chunk."""
        return [each.index for each in self.received if isinstance(each, SealedRequest)]

    @property
    def chunks(self) -> list[int]:
        """Return the chunks that the node sent, in order."""
        return [each.index for each in self.received if isinstance(each, Chunk)]

    # What the holder sends.

    def send(self, *messages: Struct) -> Self:
        """Send these messages; return the connection."""
        self.send_raw(
            b"".join(
                each.encoded() if isinstance(each, Chunk) else encode_frame(each)
                for each in messages
            )
        )
        return self

    def send_raw(self, data: bytes) -> None:
        """Write any bytes."""
        if not self.is_lost:
            self.transport.write(data)

    def send_chunk(self, index: int, data: bytes | None = None) -> None:
        """Send a chunk, with wrong bytes if `data` is given."""
        true = self.holder.holding.chunk(index) if data is None else data
        self.holder.sent.append(index)
        self._sent.add(index)
        self.send(Chunk(index, true))

    def send_blocks(self, request: BlockRequest, data: bytes | None = None) -> None:
        """Answer a request for blocks, with wrong bytes if `data` is given."""
        true = self.holder.holding.chunk(request.index)
        first = request.first * BLOCK_SIZE
        if data is None:
            data = true[first : first + request.count * BLOCK_SIZE]
        run = Run(request.index, request.first, request.count)
        self.holder.sent_blocks.append(run)
        hashes = block_digests(true) if request.hashes else None
        self.send(Blocks(request.read, memoryview(data), hashes))

    def choose(self) -> int | None:
        """Choose a chunk for a request that names none."""
        count = self.holder.holding.chunks.count
        wanted = set(range(count)) if self.wanted is None else self.wanted
        left = wanted - self.announced - self._sent
        chosen = min(left, default=None)
        if chosen is not None:
            self._sent.add(chosen)
        return chosen

    def close(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.holder.talks.append(self)
        self.holder.greet(self)
        self.holder.notify()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.buffer_updated(nbytes)
        for frame in self._reader.frames():
            self._on_frame(bytes(frame))
        self.holder.notify()

    def _on_frame(self, frame: bytes) -> None:
        message: Heard | None
        if self._coming is not None:
            message, self._coming = Chunk(self._coming.index, frame), None
        else:
            message = decode_sealed(frame)
        if isinstance(message, SealedResponse):
            if message.length:
                self._coming = message
                self._reader.expect_data(message.length)
                return
            message = Chunk(message.index, b"")
        if message is not None:
            self._note(message)
            self.holder.on_message(self, message)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self.holder.notify()

    def _note(self, message: Heard) -> None:
        count = self.holder.holding.chunks.count
        if isinstance(message, Chunk) and not self.holder.keeps_chunks:
            message = Chunk(message.index, b"")
        self.received.append(message)
        match message:
            case Hello(bitfield=bytes() as bits) if len(bits) == -(-count // 8):
                self.announced.update(Bitfield.from_bytes(bits, count))
            case Have(ranges=ranges):
                for first, number in ranges:
                    self.announced.update(range(first, first + number))
            case Want(ranges=ranges):
                self.wanted = {
                    i for first, n in ranges for i in range(first, first + n)
                }


class Holder:
    """Listen at `address` for nodes that have the link, or dial them."""

    keeps_chunks = True
    """Whether the connections keep the bytes of received chunks."""

    def __init__(self, holding: Holding, node_id: bytes | None = None) -> None:
        self.holding = holding
        self.node_id = node_id or os.urandom(16)
        self.address = Address("127.0.0.1", 0)
        """The address that it listens at; port 0 while it does not."""
        self.talks: list[Talk] = []
        """All connections after their handshakes, in order."""
        self.sent: list[int] = []
        """The indexes of all chunks that it sent, right or wrong, in order."""
        self.sent_blocks: list[Run] = []
        """All runs of blocks that it sent, right or wrong, in order."""
        self._changed = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []
        self._when_left: list[Callable[[], object]] = []

    # The messages it sends; subclasses override these to misbehave.

    @property
    def bitfield(self) -> bytes:
        """Return the chunks that it claims to have."""
        return self.holding.full

    def greet(self, talk: Talk) -> None:
        """Send the first message."""
        bits, port = self.bitfield, self.address.port
        if len(bits) <= MAX_BITFIELD:
            talk.send(Hello(port, self.holding.root, bits))
            return
        starts = range(0, len(bits), MAX_BITFIELD)
        pieces = (BitfieldPiece(bits[i : i + MAX_BITFIELD]) for i in starts)
        talk.send(Hello(port, self.holding.root, b""), *pieces)

    def on_request(self, talk: Talk, index: int) -> None:
        """Answer a request; for one that names no chunk, `index` is chosen."""
        talk.send_chunk(index)

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        """Answer a request for blocks."""
        talk.send_blocks(request)

    def on_page(self, talk: Talk, key: PageKey) -> None:
        """Answer a request for a page of the manifest."""
        talk.send(Page(*key, self.holding.pages[key]))

    def on_message(self, talk: Talk, message: Heard) -> None:
        """Answer a message."""
        match message:
            case SealedRequest(index=None):
                chosen = talk.choose()
                if chosen is None:
                    talk.send(Refuse(None, "nothing"))
                else:
                    self.on_request(talk, chosen)
            case SealedRequest(index=int() as index):
                self.on_request(talk, index)
            case BlockRequest():
                self.on_block_request(talk, message)
            case Page(key=key, data=None):
                self.on_page(talk, key)
            case Goodbye():
                talk.close()

    # What a test calls.

    async def dial(self, address: Address) -> Talk:
        """Dial a node that has the share."""
        keys = self.holding.link.keys
        return await dial_sealed(address, keys, self.node_id, lambda _: Talk(self))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a message or a lost connection makes `condition` true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after a while, unless the holder ends before."""
        timer = asyncio.get_running_loop().call_later(seconds, action)
        self._timers.append(timer)

    def when_left(self, action: Callable[[], object]) -> None:
        """Call `action` once a node has ended its connection with this holder."""
        self._when_left.append(action)
        self.notify()

    def notify(self) -> None:
        """Check the conditions of waiting tests."""
        self._changed.set()
        while self._when_left and any(talk.is_lost for talk in self.talks):
            self._when_left.pop()()

    @property
    def requested(self) -> list[int | None]:
        """Return the requests of all connections."""
        return [index for talk in self.talks for index in talk.requested]

    @property
    def pages_requested(self) -> list[PageKey]:
        """Return the pages that nodes requested."""
        received = [message for talk in self.talks for message in talk.received]
        return [m.key for m in received if isinstance(m, Page) and m.data is None]

    def accept(self, proven: ProvenPeer) -> Talk:
        """Return the connection for a node that dialled and has proven the id."""
        return Talk(self)

    async def __aenter__(self) -> Self:
        self._listener = SealedListener(self.node_id, hosts=[self.address.host])
        self.address = Address(self.address.host, self._listener.port)
        self._listener.register(self.holding.link.keys, self.accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.aclose()
        self.end()

    def end(self) -> None:
        """End every connection; enough for a holder that did not listen."""
        for timer in self._timers:
            timer.cancel()
        for talk in self.talks:
            talk.close()


class Passive(Holder):
    """Send only the messages that a test sends."""

    def greet(self, talk: Talk) -> None:
        pass

    def on_message(self, talk: Talk, message: Heard) -> None:
        pass


class SlowHolder(Holder):
    """Send chunks one after another, at a fixed rate."""

    def __init__(self, holding: Holding, chunks_per_second: float) -> None:
        super().__init__(holding)
        self._pause = 1 / chunks_per_second
        self._free = 0.0  # when the next chunk may be sent

    def on_request(self, talk: Talk, index: int) -> None:
        now = asyncio.get_running_loop().time()
        self._free = max(now, self._free) + self._pause
        self.later(self._free - now, lambda: talk.send_chunk(index))
