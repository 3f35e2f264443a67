"""Listeners survive having no file descriptor left.

The listener runs in its own process, because the limit is per process.
"""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from socket import socket

import pytest

from shoal.core.names.address import Address
from tests.helpers.few_files import CHUNK
from tests.helpers.sealed import flood, open_sealed
from tests.helpers.wire import frame, read_frame

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no limit of file descriptors"
)
PATIENCE = 40.0  # seconds


async def use_sealed(address: Address) -> None:
    """Connect as a holder and get an answer."""
    async with open_sealed() as here:
        plain = await here.dial(address=address)
        plain.transport.write(b"hello")
        assert await plain.until(5) == b"hello"
        plain.transport.abort()


async def use_open(address: Address) -> None:
    """Connect as a client and get a chunk; try again when refused."""
    while True:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(frame({"type": "request", "index": 0}))
            assert (await read_frame(reader))["data"] == CHUNK
            return
        except (ConnectionError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)
        finally:
            writer.transport.abort()


@pytest.mark.parametrize(("kind", "use"), [("sealed", use_sealed), ("open", use_open)])
async def test_a_listener_survives_having_no_file_descriptor_left(
    kind: str, use: Callable[[Address], Awaitable[None]]
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.helpers.few_files", kind),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin
    assert process.stdout
    strangers: list[socket] = []
    try:
        async with asyncio.timeout(PATIENCE):
            address = Address("127.0.0.1", int(await process.stdout.readline()))
            strangers = await flood(address, 300)
            # The listener has accepted the whole flood before this connection.
            await use(address)
            process.stdin.write(b"now take all there is\n")
            strangers += await flood(address, 100)
            spare, rounds = (await process.stdout.readline()).split()
            assert int(spare) >= 20, "strangers used the descriptors reserved for files"
            assert int(rounds) < 2000, "the accept loop spins"
            await use(address)
            _, said = await process.communicate(b"\n")
            assert said == b""
    finally:
        for each in strangers:
            each.close()
        if process.returncode is None:
            process.kill()
            await process.wait()
