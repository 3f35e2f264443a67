"""Holders that misuse the link, each in one way; see `tests.helpers.holder`.

async with FlipsABit(holding) as liar, Holder(holding) as honest: ...
"""

from collections.abc import Sequence

from shoal.core.wire.messages import encode_frame
from shoal.core.wire.sealed_messages import (
    Have,
    Hello,
    Page,
    Peers,
    Refuse,
    SealedMessage,
    SealedResponse,
)
from tests.helpers.holder import Holder, Holding, Talk, make_holding

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

# Those who lie about chunks.


class FlipsABit(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        data = bytearray(self.holding.chunk(index))
        data[len(data) // 2] ^= 4
        talk.send_chunk(index, bytes(data))


class SendsAnother(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(
            index, self.holding.chunk((index + 1) % self.holding.chunks.count)
        )


class SendsZeroes(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(index, bytes(self.holding.chunks.length(index)))


class SendsShort(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(index, self.holding.chunk(index)[:-1])


class SendsNothing(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(index, b"")


class SendsMore(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        talk.send_chunk(index, self.holding.chunk(index) + b"\0")


LIARS = [FlipsABit, SendsAnother, SendsZeroes, SendsShort, SendsNothing, SendsMore]


# Those who do not give what they say they have.


class Silent(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        pass


class StallsAtTheLast(Holder):
    """Send everything but the last chunk that it is asked for."""

    def on_request(self, talk: Talk, index: int) -> None:
        if len(set(self.sent)) < self.holding.chunks.count // 2:
            super().on_request(talk, index)


class RefusesAll(Holder):
    def on_request(self, talk: Talk, index: int) -> None:
        self.sent.append(index)
        talk.send(Refuse(index, "missing"))


class AnnouncesInVain(Silent):
    """Announce chunk after chunk, and have none of them."""

    @property
    def bitfield(self) -> bytes:
        return self.holding.some(())

    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(*(Have([(i, 1)]) for i in range(self.holding.chunks.count)))


class GivesTheSame(Holder):
    """Answer "any" with the first chunk, again and again."""

    def on_message(self, talk: Talk, message: SealedMessage) -> None:
        if isinstance(message, Page):
            super().on_message(talk, message)
        elif getattr(message, "index", 0) is None:
            talk.send_chunk(0)


class KeepsPages(Holder):
    """Send every chunk, and never a page without which nobody can ask for one."""

    def on_page(self, talk: Talk, number: int) -> None:
        pass


class Drips(Holder):
    """Send a byte a second of an answer that never ends."""

    def on_request(self, talk: Talk, index: int) -> None:
        if not self.sent:
            self.sent.append(index)
            data = memoryview(self.holding.chunk(index))
            whole = encode_frame(SealedResponse(index, data))
            self.drip(talk, whole)

    def drip(self, talk: Talk, rest: bytes) -> None:
        if rest and not talk.is_lost:
            talk.send_raw(rest[:1])
            self.later(1.0, lambda: self.drip(talk, rest[1:]))


# Those who say what may not be said.


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


class UnsolicitedPage(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Page(7, b"x"))


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


# Those who lie about the manifest.


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
    def on_page(self, talk: Talk, number: int) -> None:
        talk.send(Page(number, bytes(65_536)))


class FlippedPages(Holder):
    def on_page(self, talk: Talk, number: int) -> None:
        page = bytearray(self.holding.pages[number])
        page[-1] ^= 1
        talk.send(Page(number, bytes(page)))


class ShortPages(Holder):
    def on_page(self, talk: Talk, number: int) -> None:
        talk.send(Page(number, self.holding.pages[number][:-1]))


class Poisons(Silent):
    """Name 10,000 addresses: of services, of nobody, of the peer itself."""

    def __init__(self, holding: Holding, victims: Sequence[tuple[str, int]]) -> None:
        super().__init__(holding)
        self._victims = victims

    def on_message(self, talk: Talk, message: SealedMessage) -> None:
        super().on_message(talk, message)
        if isinstance(message, Hello):
            own = ("127.0.0.1", message.port)
            talk.send(Peers([*self._victims, own] * 3))
            for start in range(20_000, 30_000, 50):
                nobody = [("127.9.9.9", start + i) for i in range(50)]
                talk.send(Peers(nobody))


class NamesTooMany(Holder):
    """Name more addresses in a message than are allowed."""

    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Peers([("127.9.9.9", 20_000 + i) for i in range(51)]))


IDLE = [
    Silent,
    AnnouncesInVain,
    StallsAtTheLast,
    RefusesAll,
    GivesTheSame,
    KeepsPages,
    Drips,
]
MANIFEST_LIARS = [WrongRoot, FlippedRoot, GarbagePages, FlippedPages, ShortPages]
RUDE = [
    NamesTooMany,
    HaveOutOfRange,
    HaveBeyond,
    HaveBeforeHello,
    SecondBitfield,
    ShortBitfield,
    LongBitfield,
    SpareBits,
    Unsolicited,
    UnsolicitedPage,
    ChunkTooFar,
    HugeFrame,
    Bomb,
    Garbage,
]
