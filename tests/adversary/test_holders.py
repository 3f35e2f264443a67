"""Peers that have the link and misuse it: the honest download completes all the same.

threats.md B: each of them is met beside an honest holder, by a node that fetches or
by one that shares.
"""

from pathlib import Path

import pytest

from shoal.core.messages import encode_frame
from shoal.core.sealed_messages import Give, Have, Hello, Page, Refuse
from tests.helpers.holder import Holder, Holding, Talk, make_holding
from tests.helpers.sealed_fetching import fetch_sealed, left_of

CHUNK = 16_384
HOLDING = make_holding(60 * CHUNK + 777)
DATA = b"".join(HOLDING.chunk(i) for i in range(HOLDING.chunks.count))


# Those who lie about chunks.


class FlipsABit(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        data = bytearray(self.holding.chunk(index))
        data[len(data) // 2] ^= 4
        talk.give(index, bytes(data))


class SendsAnother(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        talk.give(index, self.holding.chunk((index + 1) % self.holding.chunks.count))


class SendsZeroes(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        talk.give(index, bytes(self.holding.chunks.length(index)))


class SendsShort(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        talk.give(index, self.holding.chunk(index)[:-1])


class SendsNothing(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        talk.give(index, b"")


class SendsMore(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        talk.give(index, self.holding.chunk(index) + b"\0")


LIARS = [FlipsABit, SendsAnother, SendsZeroes, SendsShort, SendsNothing, SendsMore]


@pytest.mark.parametrize("kind", LIARS)
async def test_a_liar_is_banned(kind: type[Holder], tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with kind(HOLDING) as liar, Holder(HOLDING) as honest:
        peers = [liar.address, honest.address]
        events = await fetch_sealed(HOLDING.link, out, peers)
        assert liar.given, "the liar was never asked"
        assert len(liar.talks) == 1, "it was dialled again"
        assert [left.is_banned for left in left_of(events, liar.address)] == [True]
        assert not any(left.is_banned for left in left_of(events, honest.address))
    assert out.read_bytes() == DATA


async def test_nine_liars_of_ten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    liars = [LIARS[number % len(LIARS)](HOLDING) for number in range(9)]
    async with Holder(HOLDING) as honest:
        for liar in liars:
            await liar.__aenter__()
        peers = [liar.address for liar in liars] + [honest.address]
        events = await fetch_sealed(HOLDING.link, out, peers)
        for liar in liars:
            await liar.__aexit__()
    assert out.read_bytes() == DATA
    asked = [liar for liar in liars if liar.given]
    assert asked
    for liar in asked:
        assert [left.is_banned for left in left_of(events, liar.address)] == [True]
        # What was on its way when the first of it was found out, and no more.
        assert len(liar.given) <= 8


# Those who do not give what they say they have.


class Silent(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        pass


class StallsAtTheLast(Holder):
    """Give everything but the last chunk that it is asked for."""

    def on_ask(self, talk: Talk, index: int) -> None:
        if len(set(self.given)) < self.holding.chunks.count // 2:
            super().on_ask(talk, index)


class RefusesAll(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        self.given.append(index)
        talk.send(Refuse(index, "missing"))


class GivesTheSame(Holder):
    """Answer "any" with the first chunk, again and again."""

    def on_message(self, talk: Talk, message: object) -> None:
        if getattr(message, "index", 0) is None:
            talk.give(0)


class Drips(Holder):
    """Send a byte a second of an answer that never ends."""

    def on_ask(self, talk: Talk, index: int) -> None:
        if not self.given:
            self.given.append(index)
            whole = encode_frame(Give(index, memoryview(self.holding.chunk(index))))
            self.drip(talk, whole)

    def drip(self, talk: Talk, rest: bytes) -> None:
        if rest and not talk.is_lost:
            talk.send_raw(rest[:1])
            self.later(1.0, lambda: self.drip(talk, rest[1:]))


@pytest.mark.parametrize(
    "kind", [Silent, StallsAtTheLast, RefusesAll, GivesTheSame, Drips]
)
async def test_who_does_not_give_holds_nobody_up(
    kind: type[Holder], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with kind(HOLDING) as idle, Holder(HOLDING) as honest:
        peers = [idle.address, honest.address]
        events = await fetch_sealed(HOLDING.link, out, peers, timeout=8)
        # It was asked for something, but not for ever and again.
        assert 0 < len(idle.asked) < 4 * HOLDING.chunks.count
        assert not any(left.is_banned for left in left_of(events, honest.address))
    assert out.read_bytes() == DATA


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
        talk.give(3)


class UnsolicitedPage(Holder):
    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Page(7, b"x"))


class ChunkTooFar(Holder):
    def on_ask(self, talk: Talk, index: int) -> None:
        talk.give(self.holding.chunks.count + 5, b"x")


class HugeFrame(Holder):
    def greet(self, talk: Talk) -> None:
        talk.send_raw(b"\xff\xff\xff\x7f" + bytes(1000))


class Bomb(Holder):
    def greet(self, talk: Talk) -> None:
        talk.send_raw(b"\x86\x80\x04\xdd\x7f\xff\xff\xff" + b"\x90" * 65_537)


class Garbage(Holder):
    def greet(self, talk: Talk) -> None:
        talk.send_raw(b"GET / HTTP/1.1\r\n\r\n" * 100)


RUDE = [
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


@pytest.mark.parametrize("kind", RUDE)
async def test_who_is_rude_is_left(kind: type[Holder], tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with kind(HOLDING) as rude, Holder(HOLDING) as honest:
        peers = [rude.address, honest.address]
        await fetch_sealed(HOLDING.link, out, peers)
        assert rude.talks
        await rude.until(lambda: rude.talks[0].is_lost)
    assert out.read_bytes() == DATA


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


@pytest.mark.parametrize(
    "kind", [WrongRoot, FlippedRoot, GarbagePages, FlippedPages, ShortPages]
)
async def test_a_liar_about_the_manifest_is_banned(
    kind: type[Holder], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    class Late(Holder):
        """Be honest once the liar has said what it says."""

        def greet(self, talk: Talk) -> None:
            liar.when_left(lambda: super(Late, self).greet(talk))

    async with kind(HOLDING) as liar, Late(HOLDING) as honest:
        peers = [liar.address, honest.address]
        events = await fetch_sealed(HOLDING.link, out, peers)
        assert [left.is_banned for left in left_of(events, liar.address)] == [True]
        assert len(liar.pages_asked) <= 4
    assert out.read_bytes() == DATA
