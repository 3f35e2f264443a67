"""Somebody who has the link, and need not be honest with it.

A `Holder` does the real knock, TLS and proofs, by listening or by dialling, and
then says what its methods say. As it stands it is honest; each way to misbehave
overrides one of them:

class FlipsABit(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        talk.give(index, flipped(self.holding.chunk(index)))

async with FlipsABit(holding) as liar, Holder(holding) as honest:
    await fetch_sealed(holding.link, tmp_path, [liar.address, honest.address])
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Self

from msgspec import Struct

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.manifest.file_table import Entry
from shoal.core.manifest.manifest import Manifest, build_manifest
from shoal.core.names.address import Address
from shoal.core.names.link import Link
from shoal.core.wire.framing import FrameReader
from shoal.core.wire.messages import encode_frame
from shoal.core.wire.sealed_messages import (
    Ask,
    Give,
    Goodbye,
    Have,
    Hello,
    Page,
    Refuse,
    SealedMessage,
    decode_sealed,
)
from shoal.errors import PeerError
from shoal.transport.sealed.listen import SealedListener
from shoal.transport.sealed.port import dial_sealed
from shoal.transport.sealed.proven import ProvenPeer
from shoal.transport.tls.certificate import Certificates

__all__ = [
    "Holder",
    "Holding",
    "SlowHolder",
    "Talk",
    "holding_of",
    "make_holding",
    "refused",
]

MAX_FRAME = 17 << 20  # bytes; a holder is not afraid of its peers
PATIENCE = 30.0  # seconds


class Holding(NamedTuple):
    """What a holder has of one share."""

    link: Link
    root: bytes
    pages: Sequence[bytes]
    chunks: Chunks
    chunk: Callable[[int], bytes]
    """Return the true bytes of a chunk."""

    @property
    def full(self) -> bytes:
        """Return the bitfield of who has everything."""
        return bytes(Bitfield.full(self.chunks.count))

    def some(self, indexes: Iterable[int]) -> bytes:
        """Return the bitfield of who has these chunks."""
        have = Bitfield(self.chunks.count)
        for index in indexes:
            have.add(index)
        return bytes(have)


def make_holding(
    data: bytes | int,
    *,
    chunk_size: int = 16_384,
    name: str = "data",
    files: Sequence[Entry] | None = None,
) -> Holding:
    """Return a share of one file with these bytes, or so many random ones.

    With `files` it is a folder of those.
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
    """Return what somebody holds who has a whole manifest."""
    numbers = range(manifest.page_count)
    pages = [page for n in numbers if (page := manifest.page(n)) is not None]
    link = Link(manifest.id)
    return Holding(link, manifest.root_record, pages, manifest.chunks, chunk)


class Talk(asyncio.BufferedProtocol):
    """One connection of a holder."""

    def __init__(self, holder: "Holder") -> None:
        self.holder = holder
        self.said: list[SealedMessage] = []
        """What the peer said; chunks are left out."""
        self.asked: list[int | None] = []
        """What the peer asked for, in order."""
        self.given = 0
        """Chunks that the peer gave."""
        self.has: set[int] = set()
        """Chunks that the peer announced."""
        self.is_lost = False
        self.transport: asyncio.Transport
        self._reader = FrameReader(MAX_FRAME)
        self._sent: set[int] = set()

    # What the holder says.

    def send(self, *messages: Struct) -> None:
        """Say these."""
        self.send_raw(b"".join(map(encode_frame, messages)))

    def send_raw(self, data: bytes) -> None:
        """Write bytes, whatever they are."""
        if not self.is_lost:
            self.transport.write(data)

    def give(self, index: int, data: bytes | None = None) -> None:
        """Give a chunk, or say that `data` is one."""
        true = self.holder.holding.chunk(index) if data is None else data
        self.holder.given.append(index)
        self._sent.add(index)
        self.send(Give(index, memoryview(true)))

    def next_any(self) -> int | None:
        """Choose a chunk for who does not say which."""
        count = self.holder.holding.chunks.count
        left = set(range(count)) - self.has - self._sent
        chosen = min(left, default=None)
        if chosen is not None:
            self._sent.add(chosen)
        return chosen

    def close(self) -> None:
        """End it at once."""
        self.transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.holder.talks.append(self)
        self.holder.greet(self)
        self.holder.tell()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.buffer_updated(nbytes)
        for frame in self._reader.frames():
            message = decode_sealed(bytes(frame))
            if isinstance(message, Give):
                self.given += 1
            elif message is not None:
                self.said.append(message)
            if message is not None:
                self._note(message)
                self.holder.on_message(self, message)
        self.holder.tell()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self.holder.tell()

    def _note(self, message: SealedMessage) -> None:
        match message:
            case Ask(index=index):
                self.asked.append(index)
            case Hello(bitfield=bytes() as bits):
                count = self.holder.holding.chunks.count
                self.has.update(Bitfield.from_bytes(bits, count))
            case Have(ranges=ranges):
                for first, number in ranges:
                    self.has.update(range(first, first + number))


class Holder:
    """Listen at `address` for others who have the link, or dial them."""

    def __init__(self, holding: Holding, node_id: bytes | None = None) -> None:
        self.holding = holding
        self.node_id = node_id or os.urandom(16)
        self.address = Address("127.0.0.1", 0)
        """Where it listens."""
        self.talks: list[Talk] = []
        """Every connection that was proven, in order."""
        self.given: list[int] = []
        """Every chunk it sent, or claimed to send, in order."""
        self._changed = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []
        self._when_left: list[Callable[[], None]] = []

    # What it says; the ways to misbehave change these.

    @property
    def bitfield(self) -> bytes:
        """Return what it claims to have."""
        return self.holding.full

    def greet(self, talk: Talk) -> None:
        """Say the first thing."""
        talk.send(Hello(self.address.port, self.holding.root, self.bitfield))

    def on_ask(self, talk: Talk, index: int) -> None:
        """Answer a request; "any" comes as the index chosen for it."""
        talk.give(index)

    def on_page(self, talk: Talk, number: int) -> None:
        """Answer a request for a page of the manifest."""
        talk.send(Page(number, self.holding.pages[number]))

    def on_message(self, talk: Talk, message: SealedMessage) -> None:
        """Do what a message asks for."""
        match message:
            case Ask(index=None):
                chosen = talk.next_any()
                if chosen is None:
                    talk.send(Refuse(None, "nothing"))
                else:
                    self.on_ask(talk, chosen)
            case Ask(index=int() as index):
                self.on_ask(talk, index)
            case Page(index=number, data=None):
                self.on_page(talk, number)
            case Goodbye():
                talk.close()

    # What a test does with it.

    async def dial(self, address: Address) -> Talk:
        """Connect with a node that has the share, as one who dials."""
        keys = self.holding.link.keys
        return await dial_sealed(address, keys, self.node_id, lambda _: Talk(self))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that was said or lost makes `condition` true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while, unless it is closed before."""
        timer = asyncio.get_running_loop().call_later(seconds, action)
        self._timers.append(timer)

    def when_left(self, action: Callable[[], None]) -> None:
        """Do something once a peer has ended its connection with this holder."""
        self._when_left.append(action)
        self.tell()

    def tell(self) -> None:
        """Wake whoever waits for something to happen here."""
        self._changed.set()
        while self._when_left and any(talk.is_lost for talk in self.talks):
            self._when_left.pop()()

    @property
    def asked(self) -> list[int | None]:
        """Return everything that anybody asked for."""
        return [index for talk in self.talks for index in talk.asked]

    @property
    def pages_asked(self) -> list[int]:
        """Return the pages that anybody asked for."""
        said = [message for talk in self.talks for message in talk.said]
        return [m.index for m in said if isinstance(m, Page) and m.data is None]

    def _accept(self, proven: ProvenPeer) -> Talk:
        return Talk(self)

    async def __aenter__(self) -> Self:
        certificates = Certificates(time.monotonic)
        self._listener = await SealedListener.open(
            self.node_id, certificates, hosts=[self.address.host]
        )
        self.address = Address(self.address.host, self._listener.port)
        self._listener.register(self.holding.link.keys, self._accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.aclose()
        self.end()

    def end(self) -> None:
        """End every connection; all there is to do for one who only dialled."""
        for timer in self._timers:
            timer.cancel()
        for talk in self.talks:
            talk.close()


class SlowHolder(Holder):
    """Give one chunk after the other, so many a second."""

    def __init__(self, holding: Holding, chunks_per_second: float) -> None:
        super().__init__(holding)
        self._pause = 1 / chunks_per_second
        self._free = 0.0  # when the next may be given

    def on_ask(self, talk: Talk, index: int) -> None:
        now = asyncio.get_running_loop().time()
        self._free = max(now, self._free) + self._pause
        self.later(self._free - now, lambda: talk.give(index))


async def refused(holder: Holder, address: Address) -> bool:
    """Say whether a node does not let a holder in."""
    try:
        talk = await holder.dial(address)
    except PeerError:
        return True
    await holder.until(lambda: bool(talk.said) or talk.is_lost)
    return not talk.said
