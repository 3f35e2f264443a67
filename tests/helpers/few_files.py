"""A listener in a process with few file descriptors; a test floods it.

Run this module as `sealed` (an echo for holders) or `open` (a channel named `few` with
one chunk). It prints its port, waits for a line, takes every descriptor that is left,
prints how many those were and how often its loop ran in a second without any, gives
them back and serves until its input ends.
"""

import asyncio
import resource
import selectors
import socket
import sys
import tempfile
from asyncio import SelectorEventLoop
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from shoal.node.node import Node
from tests.helpers.fetching import here
from tests.helpers.sealed import open_sealed

__all__ = ["CHUNK"]

LIMIT = 128  # file descriptors
CHUNK = b"what is shared"
"""The only chunk of the open channel."""


class CountingSelector(selectors.DefaultSelector):
    """Count the rounds of the event loop."""

    rounds = 0

    def select(self, timeout: float | None = None) -> Any:
        self.rounds += 1
        return super().select(timeout)


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


async def main(kind: str, selector: CountingSelector) -> None:
    """Do what the docstring of the module describes."""
    async with serve_sealed() if kind == "sealed" else serve_open() as port:
        # Only now, so that the listener has no smaller limit of guests.
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        await say(port)
        taken: list[socket.socket] = []
        while take(taken):
            pass
        before = selector.rounds
        await asyncio.sleep(1)
        rounds = selector.rounds - before
        spare = len(taken)
        for each in taken:
            each.close()
        await say(f"{spare} {rounds}")


def take(sockets: list[socket.socket]) -> bool:
    """Take one descriptor; return False if none is left."""
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
    selector = CountingSelector()
    with asyncio.Runner(loop_factory=partial(SelectorEventLoop, selector)) as runner:
        runner.run(main(sys.argv[1], selector))
