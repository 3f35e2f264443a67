"""Peers that have the link and misuse it: the honest download completes all the same.

threats.md B: each of them is met beside an honest holder, by a node that fetches or
by one that shares.
"""

from pathlib import Path

import pytest

from tests.helpers.badholders import IDLE, LIARS, MANIFEST_LIARS, RUDE
from tests.helpers.holder import Holder, Talk, make_holding
from tests.helpers.sealed_fetching import fetch_sealed, left_of

CHUNK = 16_384
HOLDING = make_holding(60 * CHUNK + 777)
DATA = b"".join(HOLDING.chunk(i) for i in range(HOLDING.chunks.count))


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
        assert len(liar.given) <= 16


@pytest.mark.parametrize("kind", IDLE)
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


@pytest.mark.parametrize("kind", RUDE)
async def test_who_is_rude_is_left(kind: type[Holder], tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with kind(HOLDING) as rude, Holder(HOLDING) as honest:
        peers = [rude.address, honest.address]
        await fetch_sealed(HOLDING.link, out, peers)
        assert rude.talks
        await rude.until(lambda: rude.talks[0].is_lost)
    assert out.read_bytes() == DATA


@pytest.mark.parametrize("kind", MANIFEST_LIARS)
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
