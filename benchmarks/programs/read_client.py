"""Read a share at random offsets and measure the latency of each read.

python -m benchmarks.programs.read_client LINK HOST:PORT SIZE COUNT FILE

All bytes are compared with FILE, the shared file. Prints the figures as JSON, in
seconds.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

from tests.helpers.datasets import bytes_received

from benchmarks.programs.latencies import summarize
from shoal.config.settings import Settings
from shoal.core.names.address import parse_address
from shoal.node.node import Node

__all__: list[str] = []

WARM_UP = 5  # reads that are not counted
Count = Callable[[], int]
Read = Callable[[int, int], Awaitable[bytes]]
"""Return the bytes at an offset, given the offset and a size in bytes."""


@asynccontextmanager
async def reader(link_text: str, peer: str) -> AsyncIterator[tuple[Read, Count]]:
    """Open a share; yield functions that read from it and count received bytes."""
    settings = Settings(peers=(parse_address(peer),), lan_only=True, no_lan=True)
    async with Node(settings) as node, node.open(link_text) as file:

        async def read(offset: int, size: int) -> bytes:
            file.seek(offset)
            return await file.read(size)

        def received() -> int:
            return bytes_received(node)

        yield read, received


async def measure(link: str, peer: str, size: int, count: int, path: str) -> None:
    """Read `size` bytes `count` times, at offsets that are multiples of `size`."""
    rng = Random(11)
    times = []
    fd = os.open(path, os.O_RDONLY)
    slots = range(os.fstat(fd).st_size // size)
    offsets = [slot * size for slot in rng.sample(slots, WARM_UP + count)]
    async with reader(link, peer) as (read, received):
        for number, offset in enumerate(offsets):
            if number == WARM_UP:
                before = received()
            begin = time.perf_counter()
            data = await read(offset, size)
            times.append(time.perf_counter() - begin)
            assert data == os.pread(fd, size, offset), f"wrong bytes at {offset}"
        more = (received() - before) / (count * size)
    os.close(fd)
    print(json.dumps(summarize(times[WARM_UP:]) | {"more": more}))


def main(link: str, peer: str, size: str, count: str, path: str) -> None:
    """Run with the arguments of the command line."""
    asyncio.run(measure(link, peer, int(size), int(count), path))


if __name__ == "__main__":
    main(*sys.argv[1:])
