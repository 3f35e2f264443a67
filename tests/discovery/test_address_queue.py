"""The queue between a discovery's task and an iterator."""

import asyncio

from shoal.core.names.address import Address
from shoal.discovery.base import AddressQueue


def peer(number: int) -> Address:
    return Address(f"8.8.{number >> 8}.{number & 255}", 4001)


async def test_addresses_come_in_order_and_a_waiting_one_is_not_added_again() -> None:
    queue = AddressQueue(1000)
    queue.put([peer(1), peer(2), peer(1)])
    assert [await queue.get(), await queue.get()] == [peer(1), peer(2)]
    queue.put([peer(1)])
    assert await queue.get() == peer(1)


async def test_the_queue_is_limited() -> None:
    queue = AddressQueue(1000)
    queue.put(peer(number) for number in range(2000))
    got = [await queue.get() for _ in range(1000)]
    assert got[-1] == peer(999)
    waiting = asyncio.create_task(queue.get())
    queue.put([peer(0)])
    assert await waiting == peer(0)


async def test_closing_ends_a_waiting_get() -> None:
    queue = AddressQueue(1000)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.close()
    queue.close()
    assert await waiting is None
