"""Many shares of one node in a DHT of libtorrent, for a test inside a namespace.

    python -m tests.interop.dht_many COUNT

starts three nodes of libtorrent as they are by default and announces COUNT topics to
them, as one node of shoal that nobody waits for. It prints `found N` each time that one
more of the topics is found by another node of shoal, from another address.
"""

import asyncio
import sys
from contextlib import aclosing
from random import Random

from shoal.core.names.address import Address
from shoal.discovery.dht.client import DhtDiscovery
from tests.interop.dht_oracle import start

PORT = 4001


async def announce(discovery: DhtDiscovery, topic: bytes) -> None:
    """Announce a topic until cancelled."""
    joined = discovery.join(topic, PORT, is_awaited=lambda: False)
    async with aclosing(joined) as found:
        async for _ in found:
            pass


async def find(discovery: DhtDiscovery, topic: bytes) -> None:
    """Wait until a topic has a peer."""
    async with aclosing(discovery.join(topic, None)) as found:
        await anext(found)


async def main(count: int) -> None:
    """Announce all topics and look for each."""
    sessions = [start("") for _ in range(3)]
    nodes = [Address("127.0.0.1", session.listen_port()) for session in sessions]
    topics = [Random(number).randbytes(20) for number in range(count)]
    one = DhtDiscovery(nodes, bind="127.0.0.1")
    other = DhtDiscovery(nodes, bind="127.0.0.2")
    async with one, other, asyncio.TaskGroup() as group:
        announcing = [group.create_task(announce(one, topic)) for topic in topics]
        searches = [find(other, topic) for topic in topics]
        for number, search in enumerate(asyncio.as_completed(searches), 1):
            await search
            print(f"found {number}", flush=True)
        for task in announcing:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
