"""`Node.status` describes a share at any time; `Node.tally` counts moved bytes."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import shoal
from shoal.core.names.address import Address
from shoal.core.report.counters import BOUNDS, Durations
from shoal.core.report.status import PortMapping, path_of
from shoal.errors import VerificationError
from tests.conftest import MakeFile
from tests.helpers.badholders import FlipsABit
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Talk, make_holding

CHUNK = 16_384
COUNT = 40
MAPPED = PortMapping(4001, Address("203.0.113.9", 4001), "PCP")
HOLDING = make_holding(COUNT * CHUNK - 5, chunk_size=CHUNK)


@asynccontextmanager
async def reading(holder: Holder) -> AsyncIterator[shoal.Node]:
    """Yield a node that knows the address of a holder."""
    async with shoal.Node(here([holder.address]), rng=random.Random(1)) as node:
        yield node


class Mute(Holder):
    asked_for: int | None = None

    def on_request(self, talk: Talk, index: int) -> None:
        self.asked_for = index


async def test_the_status_of_a_share_never_requested_is_empty() -> None:
    async with Holder(HOLDING) as holder, reading(holder) as node:
        status = node.status(HOLDING.link)
        assert (status.manifest, status.have, status.peers) == (None, None, ())


async def test_status_reports_read_chunks_and_the_peer_that_sent_them() -> None:
    async with Holder(HOLDING) as holder, reading(holder) as node:
        async with node.open(HOLDING.link, timeout=20) as file:
            file.seek(7 * CHUNK)
            await file.read(1)
            status = node.status(str(HOLDING.link))
        assert status.manifest is not None
        assert status.manifest.chunks.count == COUNT
        assert status.have is not None
        assert list(status.have) == [7]
        assert status.reading == {7}
        (peer,) = status.peers
        assert peer.address == str(holder.address)
        assert (peer.source, peer.path, peer.has) == ("peer", "direct", COUNT)
        assert (peer.received, peer.sent) == (CHUNK, 0)
        assert node.status(HOLDING.link).reading == frozenset()


async def test_status_reports_requested_chunks() -> None:
    async with Mute(HOLDING) as holder, reading(holder) as node:
        async with node.open(HOLDING.link) as file:
            file.seek(3 * CHUNK)
            waiting = asyncio.create_task(file.read(1))
            await holder.until(lambda: holder.asked_for is not None)
            status = node.status(HOLDING.link)
            assert status.requested == {3} == {holder.asked_for}
            assert status.reading == {3}
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_both_ends_count_the_same_bytes(make_file: MakeFile) -> None:
    source = make_file(COUNT * CHUNK - 5, 1)
    async with shoal.Node(here([])) as sharer:
        share = await sharer.share(source, chunk_size=CHUNK)
        peer = shoal.Address("127.0.0.1", share.port)
        async with shoal.Node(here([peer])) as receiver:
            await receiver.fetch(share.link, source.with_name("there"), timeout=20)
            received = receiver.counters
            assert received.received == {"direct": source.stat().st_size}
            assert sum(received.writes.counts) >= 1
        sent = sharer.counters
        assert sent.sent == {"lan": source.stat().st_size}
        assert sharer.status(share.link).have is not None


async def test_a_wrong_chunk_counts_as_a_failure_and_not_as_received() -> None:
    async with FlipsABit(HOLDING) as holder, reading(holder) as node:
        async with node.open(HOLDING.link, timeout=0.5) as file:
            with pytest.raises(VerificationError):
                await file.read(1)
        assert node.counters.failures == 1
        assert not node.counters.received


@pytest.mark.parametrize(
    ("source", "host", "path"),
    [
        ("lan", "192.168.0.4", "lan"),
        ("hint", "198.51.100.1", "hint"),
        ("origin", "127.0.0.1", "origin"),
        ("dht", "198.51.100.1", "direct"),
        ("peer", "192.168.0.4", "direct"),
        ("incoming", "10.1.2.3", "lan"),
        ("incoming", "8.8.8.8", "direct"),
    ],
)
def test_the_path_of_a_peer_follows_from_its_source_and_address(
    source: str, host: str, path: str
) -> None:
    assert path_of(source, host) == path


@pytest.mark.parametrize(
    ("source", "host", "path"),
    [
        ("incoming", "8.8.8.8", "mapped"),
        ("incoming", "192.168.0.4", "lan"),
        ("incoming", "2a01::7", "direct"),
        ("dht", "8.8.8.8", "direct"),
        ("relayed", "8.8.8.8", "relayed"),
    ],
)
def test_a_mapped_port_is_the_path_of_those_who_dial_it(
    source: str, host: str, path: str
) -> None:
    assert path_of(source, host, mappings=[MAPPED]) == path


@pytest.mark.parametrize(
    ("host", "path"), [("2a01::7", "mapped"), ("8.8.8.8", "direct")]
)
def test_a_port_may_be_open_by_ipv6_only(host: str, path: str) -> None:
    outside = Address("2a00:1::2", 4001)
    mappings = [PortMapping(4001, outside, "PCP")]
    assert path_of("incoming", host, mappings=mappings) == path


@pytest.mark.parametrize(
    ("source", "host", "path"),
    [
        ("dht", "8.8.8.8", "punched"),
        ("swarm", "2a01::7", "punched"),
        ("hint", "8.8.8.8", "punched"),
        ("relayed", "8.8.8.8", "relayed"),
        ("peer", "192.168.0.4", "direct"),
    ],
)
def test_a_hole_was_punched_to_one_on_the_internet_that_dialled_us_too(
    source: str, host: str, path: str
) -> None:
    assert path_of(source, host, mappings=[MAPPED], is_crossed=True) == path


def test_a_duration_is_counted_in_the_bucket_of_the_next_bound() -> None:
    durations = Durations()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1] * 2):
        durations.add(seconds)
    assert durations.counts == [2, 1, *[0] * (len(BOUNDS) - 2), 1]
    assert durations.total == pytest.approx(20.00201)
