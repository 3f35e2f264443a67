"""A UDP socket that sends and receives many datagrams at once."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address
from shoal.transport.datagrams import MAX_BATCH, MAX_SEGMENTS, BatchSocket, _batches

PATIENCE = 15.0  # seconds


class End:
    """A socket on loopback, and the datagrams that it has received."""

    def __init__(self, host: str) -> None:
        self.received: list[bytes] = []
        self.sources: set[Address] = set()
        self.batches: list[int] = []  # the number of datagrams in each call
        self._has_changed = asyncio.Event()
        self.socket = BatchSocket(host, 0, self._on_datagrams)
        self.address = Address(host, self.socket.local_port)

    def _on_datagrams(self, data: bytes, segment: int, source: Address) -> None:
        parts = range(0, len(data), segment)
        self.received += [data[begin : begin + segment] for begin in parts]
        self.sources.add(source)
        self.batches.append(len(parts))
        self._has_changed.set()

    async def until(self, count: int) -> list[bytes]:
        async with asyncio.timeout(PATIENCE):
            while len(self.received) < count:
                self._has_changed.clear()
                await self._has_changed.wait()
        return self.received


@asynccontextmanager
async def two_ends(host: str = "127.0.0.1") -> AsyncIterator[tuple[End, End]]:
    ends = End(host), End(host)
    try:
        yield ends
    finally:
        for end in ends:
            end.socket.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_datagrams_of_any_size_arrive_in_order(host: str) -> None:
    sizes = [1, 48, *[1200] * 70, 300, 1400, 1400, 1200, 1400]
    sent = [os.urandom(size) for size in sizes]
    async with two_ends(host) as (one, other):
        one.socket.send_many(sent, other.address)
        assert await other.until(len(sent)) == sent
        assert other.sources == {one.address}


async def test_a_datagram_that_is_too_large_is_dropped_alone() -> None:
    async with two_ends() as (one, other):
        one.socket.send(bytes(70_000), other.address)
        one.socket.send(b"next", other.address)
        assert await other.until(1) == [b"next"]
        assert one.socket.send_error is None


async def test_where_the_kernel_cannot_split_each_datagram_is_sent_alone() -> None:
    async with two_ends() as (one, other):
        one.socket._can_split = False
        sent = [os.urandom(1200) for _ in range(10)]
        one.socket.send_many(sent, other.address)
        assert await other.until(10) == sent


async def test_a_failure_that_passes_does_not_end_the_use_of_batches() -> None:
    async with two_ends() as (one, other):
        # A broadcast address, to which no socket may send that has not asked for it.
        one.socket.send_many([bytes(1200)] * 2, Address("127.255.255.255", 9))
        assert one.socket.send_error is not None
        one.socket.send_many([bytes(1200)] * 2, other.address)
        await other.until(2)
        assert other.batches == [2]


async def test_a_closed_socket_sends_nothing_and_raises_nothing() -> None:
    async with two_ends() as (one, other):
        one.socket.close()
        one.socket.close()
        one.socket.send(b"late", other.address)
        assert one.socket.local_port == 0
        assert one.socket.closed.is_set()


async def test_a_port_that_is_taken_raises() -> None:
    async with two_ends() as (one, _):
        with pytest.raises(OSError, match="in use"):
            BatchSocket("127.0.0.1", one.address.port, one._on_datagrams)


@given(st.lists(st.sampled_from([1, 300, 1200, 1400, 9000]), max_size=200))
def test_the_kernel_can_split_each_batch(sizes: list[int]) -> None:
    sent = [bytes(size) for size in sizes]
    batches = list(_batches(sent))
    assert [each for batch in batches for each in batch] == sent
    for batch in batches:
        assert len(batch) <= MAX_SEGMENTS
        assert sum(map(len, batch)) <= MAX_BATCH
        assert all(len(each) == len(batch[0]) for each in batch[:-1])
        assert len(batch[-1]) <= len(batch[0])
