"""A listener in a process with few file descriptors; a test floods it.

Run by itself, as `sealed` (an echo for holders) or `open` (a channel named `few` with
one chunk). It says its port, waits for a line, takes every descriptor that is left,
says how many that were and how much CPU it used in a second without any, gives them
back and serves on until its input ends.
"""

import asyncio
import resource
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shoal.node.node import Node
from tests.helpers.fetching import here
from tests.helpers.sealed import open_sealed

__all__ = ["CHUNK"]

LIMIT = 128  # file descriptors
CHUNK = b"what is shared"
"""The only chunk of the open channel."""


@asynccontextmanager
async def serve_sealed() -> AsyncIterator[int]:
    """Send back what holders say; yield the port."""
    async with open_sealed() as sealed:
        sealed.echo = True
        yield sealed.address.port


@asynccontextmanager
async def serve_open() -> AsyncIterator[int]:
    """Share an open channel; yield the port."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(CHUNK)
        async with Node(here()) as node:
            yield (await node.share_open(path, "few")).port


async def main(kind: str) -> None:
    """Do what the module says."""
    async with serve_sealed() if kind == "sealed" else serve_open() as port:
        # Only now, so that the listener has no smaller limit of guests.
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        await say(port)
        taken: list[socket.socket] = []
        while take(taken):
            pass
        before = time.process_time()
        await asyncio.sleep(1)
        used = time.process_time() - before
        spare = len(taken)
        for each in taken:
            each.close()
        await say(f"{spare} {used}")


def take(sockets: list[socket.socket]) -> bool:
    """Take one descriptor; say whether there was one."""
    try:
        sockets.append(socket.socket())
    except OSError:
        return False
    return True


async def say(value: object) -> None:
    """Write a line, and wait for one."""
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
