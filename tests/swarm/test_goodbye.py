"""Who leaves a swarm on purpose says so, and is not taken for one that failed."""

import asyncio
from pathlib import Path

import pytest

from shoal.core.names.address import Address
from shoal.core.peerbook import FIRST_BACKOFF, LEFT_TIME
from shoal.core.report.events import PeerJoined, ShareEvent
from shoal.core.wire.sealed_messages import Goodbye, Hello, Page
from shoal.errors import PeerError
from shoal.node.node import Node
from shoal.swarm.connections import GOODBYE_TIME
from shoal.swarm.manifest_fetcher import PAGE_TIME
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.fetching import fetch_sealed, here
from tests.helpers.holder import Holder, Talk, make_holding
from tests.helpers.memory_net import memory_net
from tests.helpers.memory_peers import (
    MANIFEST,
    fetch,
    joined,
    left,
    source,
    talk_to,
)
from tests.helpers.virtual_time import now, virtual_time

HOLDING = make_holding(100_000)
FULL = bytes([255] * 5)
"""The bitfield of who has all of `MANIFEST`."""


@virtual_time
async def test_who_hears_a_goodbye_hangs_up_and_nobody_waits() -> None:
    async with memory_net() as net:
        first, second = source(net), net.join(MANIFEST.id)
        first.begin()
        second.begin(first)
        await fetch(second)
        begun = now()
        await second.leave()
        assert now() - begun < GOODBYE_TIME
        assert [(e.address, e.reason) for e in left(first)] == [(second.address, None)]


@virtual_time
async def test_one_that_does_not_hang_up_holds_up_nobody_for_long() -> None:
    async with memory_net() as net:
        member = source(net).begin()
        peer = talk_to(net, member).send(Hello(5000))
        await asyncio.sleep(1)
        begun = now()
        await member.leave()
        assert now() - begun == pytest.approx(GOODBYE_TIME, abs=0.01)
        assert peer.received[-1] == Goodbye()
        assert peer.is_lost


@virtual_time
async def test_who_has_said_nothing_is_not_told_and_not_waited_for() -> None:
    async with memory_net() as net:
        member = source(net).begin()
        peer = talk_to(net, member)
        await asyncio.sleep(1)
        begun = now()
        await member.leave()
        assert now() - begun < GOODBYE_TIME
        assert Goodbye() not in peer.received


@virtual_time
async def test_who_is_leaving_lets_nobody_in() -> None:
    async with memory_net() as net:
        member = source(net).begin()
        talk_to(net, member).send(Hello(5000))
        await asyncio.sleep(1)
        leaving = asyncio.create_task(member.leave())
        await asyncio.sleep(GOODBYE_TIME / 2)
        with pytest.raises(PeerError, match="leave"):
            talk_to(net, member, "10.0.9.8")
        await leaving


@pytest.mark.parametrize("says_goodbye", [True, False])
@virtual_time
async def test_who_said_goodbye_is_dialled_later_than_who_vanished(
    says_goodbye: bool,
) -> None:
    async with memory_net() as net:
        first, second = source(net), net.join(MANIFEST.id)
        first.begin()
        second.begin(first)
        await net.until(lambda: joined(second) == [first.address])
        dialled = asyncio.Event()

        def accept(proven: ProvenPeer) -> Talk:
            dialled.set()
            raise PeerError("nobody is here any more")

        net.accepts[first.address] = accept
        begun = now()
        await (first.leave() if says_goodbye else first.vanish())
        await dialled.wait()
        if says_goodbye:
            assert now() - begun == pytest.approx(LEFT_TIME, abs=1)
        else:
            assert now() - begun <= 2 * FIRST_BACKOFF


@virtual_time
async def test_what_was_asked_of_who_leaves_is_asked_of_others_at_once() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        silent = talk_to(net, member).send(Hello(5000, MANIFEST.root_record, FULL))
        fetching = asyncio.create_task(fetch(member))
        await net.until(lambda: any(isinstance(m, Page) for m in silent.received))
        other = source(net).begin(member)
        await net.until(lambda: other.address in member.peers)
        assert not fetching.done()
        silent.send(Goodbye())
        begun = now()
        await fetching
        # The page that it owed was not waited for, nor that it hangs up.
        assert now() - begun < PAGE_TIME / 2
        assert silent.is_lost


async def test_a_download_that_ends_says_goodbye(tmp_path: Path) -> None:
    async with Holder(HOLDING) as holder:
        await fetch_sealed(HOLDING.link, tmp_path / "out", [holder.address])
        await holder.until(lambda: holder.talks[0].is_lost)
        assert holder.talks[0].received[-1] == Goodbye()


async def test_a_share_that_ends_says_goodbye(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * 100_000)
    async with Node(here()) as node:
        heard = asyncio.Event()

        def on_progress(event: ShareEvent) -> None:
            if isinstance(event, PeerJoined):
                heard.set()

        share = await node.share(path, on_progress=on_progress)
        holder = Holder(HOLDING._replace(link=share.link, root=b""))
        holder.greet = lambda talk: talk.send(Hello(0))  # type: ignore[method-assign, assignment]
        talk = await holder.dial(Address("127.0.0.1", share.port))
        await heard.wait()
    await holder.until(lambda: talk.is_lost)
    assert talk.received[-1] == Goodbye()
