"""Holders that misbehave, each in one way; see `tests.helpers.holder`.

async with FlipsABit(holding) as liar, Holder(holding) as honest: ...
"""

from collections.abc import Sequence

from shoal.core.crypto.hashes import block_digests
from shoal.core.manifest.blocks import BLOCK_SIZE
from shoal.core.manifest.pages import PageKey
from shoal.core.wire.sealed_messages import (
    BlockRequest,
    Blocks,
    Have,
    Hello,
    Page,
    Peers,
    Refuse,
)
from tests.helpers.holder import Chunk, Heard, Holder, Holding, Talk, make_holding

__all__ = [
    "IDLE",
    "LIARS",
    "MANIFEST_LIARS",
    "RUDE",
    "ChunkTooFar",
    "GarbagePages",
    "Poisons",
    "Silent",
]

# Holders that send wrong chunks.


class Liar(Holder):
    """Send what `lie` makes of the right bytes, in chunks and in blocks."""

    def lie(self, data: bytes) -> bytes:
        """Return the bytes to send instead."""
        raise NotImplementedError

    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(index, self.lie(self.holding.chunk(index)))

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        first = request.first * BLOCK_SIZE
        true = self.holding.chunk(request.index)[first:][: request.count * BLOCK_SIZE]
        talk.send_blocks(request, self.lie(true))


class FlipsABit(Liar):
    def lie(self, data: bytes) -> bytes:
        changed = bytearray(data)
        changed[len(data) // 2] ^= 4
        return bytes(changed)


class SendsAnother(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(
            index, self.holding.chunk((index + 1) % self.holding.chunks.count)
        )

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        """Send the right blocks with the hashes of another chunk."""
        data = self.holding.chunk(request.index)[request.first * BLOCK_SIZE :]
        hashes = None
        if request.hashes:
            hashes = block_digests(bytes(len(self.holding.chunk(request.index))))
        part = memoryview(data[: request.count * BLOCK_SIZE])
        talk.send(Blocks(request.read, part, hashes))


class SendsZeroes(Liar):
    def lie(self, data: bytes) -> bytes:
        return bytes(len(data))


class SendsShort(Liar):
    def lie(self, data: bytes) -> bytes:
        return data[:-1]


class SendsNothing(Liar):
    def lie(self, data: bytes) -> bytes:
        return b""


class SendsMore(Liar):
    def lie(self, data: bytes) -> bytes:
        return data + b"\0"


LIARS = [FlipsABit, SendsAnother, SendsZeroes, SendsShort, SendsNothing, SendsMore]


# Holders that do not send the chunks that they announce.


class Silent(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        pass


class StallsHalfway(Holder):
    """Send half of the chunks."""

    def on_request(self, talk: Talk, index: int) -> None:
        if len(set(self.sent)) < self.holding.chunks.count // 2:
            super().on_request(talk, index)


class RefusesAll(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        self.sent.append(index)
        talk.send(Refuse(index, "missing"))


class AnnouncesMissing(Silent):
    """Announce all chunks one after another, and have none."""

    @property
    def bitfield(self) -> bytes:
        return self.holding.some(())

    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(*(Have([(i, 1)]) for i in range(self.holding.chunks.count)))


class SendsTheSame(Holder):
    """Answer every request for any chunk with the first chunk."""

    def on_message(self, talk: Talk, message: Heard) -> None:
        if isinstance(message, Page):
            super().on_message(talk, message)
        elif getattr(message, "index", 0) is None:
            talk.send_chunk(0)


class WithholdsPages(Holder):
    """Send no page of the manifest, without which no chunk can be requested."""

    def on_page(self, talk: Talk, key: PageKey) -> None:
        pass


class Drips(Holder):
    """Send one byte of an answer per second."""

    def on_request(self, talk: Talk, index: int) -> None:
        if not self.sent:
            self.sent.append(index)
            self.drip(talk, Chunk(index, self.holding.chunk(index)).encoded())

    def drip(self, talk: Talk, rest: bytes) -> None:
        if rest and not talk.is_lost:
            talk.send_raw(rest[:1])
            self.later(1.0, lambda: self.drip(talk, rest[1:]))


# Holders that violate the protocol.


class HaveOutOfRange(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Have([(self.holding.chunks.count, 1)]))


class HaveBeyond(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Have([(0, (1 << 32) - 1)]))


class HaveBeforeHello(Holder):
    def greet(self, talk: Talk) -> None:
        talk.send(Have([(0, 1)]))


class SecondBitfield(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        super().greet(talk)


class ShortBitfield(Holder):
    @property
    def bitfield(self) -> bytes:
        return self.holding.full[:-1]


class LongBitfield(Holder):
    @property
    def bitfield(self) -> bytes:
        return self.holding.full + b"\0"


class SpareBits(Holder):
    @property
    def bitfield(self) -> bytes:
        return b"\xff" * len(self.holding.full)


class Unsolicited(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send_chunk(3)


class UnsolicitedBlocks(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Blocks(0, memoryview(self.holding.chunk(0))))


class UnsolicitedRefusal(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Refuse(0, "missing", 0))


class UnsolicitedPage(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Page("hashes", 0, 7, b"x"))


class ChunkTooFar(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(self.holding.chunks.count + 5, b"x")


class HugeFrame(Holder):
    def greet(self, talk: Talk) -> None:
        talk.send_raw(b"\xff\xff\xff\x7f" + bytes(1000))


class Bomb(Holder):
    def greet(self, talk: Talk) -> None:
        talk.send_raw(b"\x86\x80\x04\xdd\x7f\xff\xff\xff" + b"\x90" * 65_537)


class Garbage(Holder):
    def greet(self, talk: Talk) -> None:
        talk.send_raw(b"GET / HTTP/1.1\r\n\r\n" * 100)


# Holders that send a wrong manifest.


class WrongRoot(Holder):
    def greet(self, talk: Talk) -> None:
        root = make_holding(b"another").root
        talk.send(Hello(self.address.port, root, self.bitfield))


class FlippedRoot(Holder):
    def greet(self, talk: Talk) -> None:
        root = bytearray(self.holding.root)
        root[-1] ^= 1
        talk.send(Hello(self.address.port, bytes(root), self.bitfield))


class GarbagePages(Holder):
    def on_page(self, talk: Talk, key: PageKey) -> None:
        talk.send(Page(*key, bytes(65_536)))


class FlippedPages(Holder):
    def on_page(self, talk: Talk, key: PageKey) -> None:
        page = bytearray(self.holding.pages[key])
        page[-1] ^= 1
        talk.send(Page(*key, bytes(page)))


class ShortPages(Holder):
    def on_page(self, talk: Talk, key: PageKey) -> None:
        talk.send(Page(*key, self.holding.pages[key][:-1]))


class Poisons(Silent):
    """Report 10,000 addresses: of services, of no host, of the node itself."""

    def __init__(self, holding: Holding, victims: Sequence[tuple[str, int]]) -> None:
        super().__init__(holding)
        self._victims = victims

    def on_message(self, talk: Talk, message: Heard) -> None:
        super().on_message(talk, message)
        if isinstance(message, Hello):
            own = ("127.0.0.1", message.port)
            talk.send(Peers([*self._victims, own] * 3))
            for start in range(20_000, 30_000, 50):
                unused = [("127.9.9.9", start + i) for i in range(50)]
                talk.send(Peers(unused))


class TooManyAddresses(Holder):
    """Report more addresses in one message than are permitted."""

    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Peers([("127.9.9.9", 20_000 + i) for i in range(51)]))


IDLE = [
    Silent,
    AnnouncesMissing,
    StallsHalfway,
    RefusesAll,
    SendsTheSame,
    WithholdsPages,
    Drips,
]
MANIFEST_LIARS = [WrongRoot, FlippedRoot, GarbagePages, FlippedPages, ShortPages]
RUDE = [
    TooManyAddresses,
    HaveOutOfRange,
    HaveBeyond,
    HaveBeforeHello,
    SecondBitfield,
    ShortBitfield,
    LongBitfield,
    SpareBits,
    Unsolicited,
    UnsolicitedBlocks,
    UnsolicitedRefusal,
    UnsolicitedPage,
    ChunkTooFar,
    HugeFrame,
    Bomb,
    Garbage,
]
