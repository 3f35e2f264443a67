"""Attacks on a node that downloads, or on two nodes of one share."""

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.knock import ANSWER_SIZE
from shoal.core.names.address import Address, parse_address
from shoal.core.names.link import parse_link
from shoal.core.wire.sealed_messages import Refuse
from shoal.errors import PeerError
from shoal.transport.sealed.dial import dial_sealed
from tests.adversary.greedy import dialling
from tests.adversary.holders import learn
from tests.helpers.badholders import FlipsABit
from tests.helpers.commands import free_port, link_of, peer_of, run, share
from tests.helpers.holder import Holder, Holding, Talk, make_holding
from tests.helpers.relay import PlainRelay
from tests.helpers.sealed import Plain, answer_to, make_knock

__all__ = ["DOWNLOADERS"]

DATA = bytes(range(256)) * 8192
LIARS = 3  # fewer than there may be at a host before it is distrusted
MOST_REQUESTS = 500  # to sources that are busy; without pauses, thousands a second
KNOCKS = 40  # of each kind
LOCAL = "127.0.0.1"
PATIENCE = 8.0  # seconds until a downloader has been lied to


def ban_by_a_claimed_port(folder: Path) -> None:
    """Dial a downloader, lie, and claim the port of an honest node."""
    source, out = folder / "x", folder / "out"
    source.write_bytes(DATA)
    port, honest = free_port(), free_port()
    with share(source) as sharer:
        link, peer = link_of(sharer), peer_of(sharer)
        holding = asyncio.run(learn(parse_link(link), parse_address(peer), source))
    args = ("get", link, "-o", out, "--port", port, "--peer", f"{LOCAL}:{honest}")
    with run(*args, "--timeout", 40) as program:

        async def lie() -> None:
            liar = FlipsABit(holding)
            liar.address = Address(LOCAL, honest)
            with dialling(liar):
                # It may be refused once it has lied.
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE):
                        while len(liar.requested) < LIARS:
                            await asyncio.sleep(0.2)
                            with suppress(PeerError):
                                talk = await liar.dial(Address(LOCAL, port))
                                await liar.until(lambda t=talk: t.is_lost)  # type: ignore[misc]
            assert liar.requested, "the liar was never asked for a chunk"

        asyncio.run(lie())
        with share(source, "--port", honest) as sharer:
            assert link_of(sharer) == link
            ended = program.finish(50)
    assert ended.code == 0, ended
    assert out.read_bytes() == DATA


class Busy(Holder):
    """Refuse every request, as if too many were waiting."""

    def on_request(self, talk: Talk, index: int) -> None:
        talk.send(Refuse(index, "busy"))


def sources_that_are_always_busy(folder: Path) -> None:
    """Answer a downloader's requests with refusals, on several connections."""
    asyncio.run(_be_busy(make_holding(DATA), folder / "out"))


async def _be_busy(holding: Holding, out: Path) -> None:
    async with AsyncExitStack() as stack:
        words: list[object] = ["get", holding.link, "-o", out, "--timeout", 5]
        busy = [await stack.enter_async_context(Busy(holding)) for _ in range(4)]
        for holder in busy:
            words += ["--peer", holder.address]
        with run(*words) as program:
            ended = await asyncio.to_thread(program.finish, 50)
            assert ended.code in (3, 7), ended
    requests = sum(len(holder.requested) for holder in busy)
    assert 0 < requests < MOST_REQUESTS, f"{requests} requests were sent"


def first_message_at_another_node(folder: Path) -> None:
    """Replay what a holder said to one node at another node of the same share."""
    (folder / "x").write_bytes(DATA)
    with share(folder / "x") as one, share(folder / "x") as other:
        link = parse_link(link_of(one))
        assert parse_link(link_of(other)) == link
        address, second = parse_address(peer_of(one)), parse_address(peer_of(other))
        asyncio.run(_replay(link.keys, address, second))
        with run("get", link, "-o", folder / "out", "--peer", second) as program:
            assert program.finish(50).code == 0


async def _replay(keys: object, address: Address, other: Address) -> None:
    async with PlainRelay(address) as relay:
        plain = await dial_sealed(relay.address, keys, os.urandom(16), Plain)  # type: ignore[arg-type]
        plain.transport.abort()
        said = bytes(relay.to_server)
    assert await answer_to(address, said, end=True) == b""
    # The other node cannot know, but nothing follows that anyone can read.
    answers = [await answer_to(other, said, end=True) for _ in range(3)]
    assert [len(each) for each in answers] == [ANSWER_SIZE, 0, 0], answers


def time_of_refusals(folder: Path) -> None:
    """Measure how long a node takes to refuse knocks of several kinds."""
    (folder / "x").write_bytes(DATA)
    with share(folder / "x") as sharer:
        link, address = parse_link(link_of(sharer)), parse_address(peer_of(sharer))
        right, other = make_knock(link.keys), derive_keys(os.urandom(32))
        kinds: dict[str, Callable[[], bytes]] = {
            "of another share": lambda: make_knock(other),
            "of random bytes": lambda: os.urandom(len(right)),
            "with its last bit changed": lambda: right[:-1] + bytes([right[-1] ^ 1]),
        }
        took = asyncio.run(_measure(address, kinds))
    medians = {kind: statistics.median(each) for kind, each in took.items()}
    # A difference that is less than what varies anyway tells a stranger nothing.
    varies = max(statistics.quantiles(each)[2] - min(each) for each in took.values())
    assert max(medians.values()) - min(medians.values()) <= varies, medians


async def _measure(
    address: Address, kinds: dict[str, Callable[[], bytes]]
) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(KNOCKS):
        for kind, make in kinds.items():
            knock, begun = make(), time.perf_counter()
            assert await answer_to(address, knock, end=True) == b""
            took[kind].append(time.perf_counter() - begun)
            await asyncio.sleep(0.05)  # fewer than the limit of knocks per second
    return took


DOWNLOADERS: dict[str, Callable[[Path], None]] = {
    case.__name__: case
    for case in (
        ban_by_a_claimed_port,
        sources_that_are_always_busy,
        first_message_at_another_node,
        time_of_refusals,
    )
}
"""All cases by name; each is given an empty folder."""
