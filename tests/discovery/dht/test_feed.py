"""The feed between a search and its iterator."""

import asyncio

from shoal.core.names.address import Address
from shoal.discovery.dht.feed import MAX_WAITING, Feed


def peer(number: int) -> Address:
    return Address(f"8.8.{number >> 8}.{number & 255}", 4001)


async def test_addresses_come_in_order_and_once_while_they_wait() -> None:
    feed = Feed()
    feed.put([peer(1), peer(2), peer(1)])
    assert [await feed.get(), await feed.get()] == [peer(1), peer(2)]
    feed.put([peer(1)])
    assert await feed.get() == peer(1)


async def test_what_waits_is_bounded() -> None:
    feed = Feed()
    feed.put(peer(number) for number in range(2 * MAX_WAITING))
    got = [await feed.get() for _ in range(MAX_WAITING)]
    assert got[-1] == peer(MAX_WAITING - 1)
    waiting = asyncio.create_task(feed.get())
    feed.put([peer(0)])
    assert await waiting == peer(0)


async def test_closing_ends_whoever_waits() -> None:
    feed = Feed()
    waiting = asyncio.create_task(feed.get())
    await asyncio.sleep(0)
    feed.close()
    feed.close()
    assert await waiting is None
