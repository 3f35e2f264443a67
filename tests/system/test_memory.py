"""Commands need little memory, and report it if there is not enough."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from random import Random

import pytest

from shoal.core.names.address import parse_address
from shoal.core.names.link import parse_link
from shoal.core.wire.messages import Request, encode_frame
from shoal.core.wire.sealed_messages import Hello, SealedRequest
from tests.conftest import MakeFile
from tests.helpers.commands import LOOPBACK, link_of, peak_rss, peer_of, run, share_open
from tests.helpers.holder import (
    Chunk,
    Heard,
    Holder,
    Holding,
    SlowHolder,
    Talk,
    make_holding,
)
from tests.helpers.process import Program
from tests.helpers.requirements import require

LIMIT = 256 << 20  # bytes of address space, as for `ulimit -v`
SIZE = 300 << 20
CROWD = 50  # peers
IDLE = 16  # clients that read nothing and request half a gigabyte together
CHUNK = 1 << 18  # bytes
PART = 8 << 20  # bytes that each peer downloads

# A callback of the event loop runs out of memory while a command waits.
_NO_MEMORY = """
import asyncio
from shoal.cli.runner import run_command

def fail():
    raise MemoryError

async def wait():
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(60)

try:
    run_command(wait())
except MemoryError:
    print("MemoryError")
"""


def limited(*args: object) -> Program:
    """Start a command with a limited address space."""
    require(None if shutil.which("prlimit") else "prlimit is not installed")
    words = [sys.executable, "-m", "shoal", *map(str, args)]
    env = {**os.environ, **LOOPBACK}
    return Program(["prlimit", f"--as={LIMIT}", *words], env=env)


def test_a_file_larger_than_the_memory_is_shared_and_fetched(
    make_file: MakeFile, tmp_path: Path
) -> None:
    part, source, out = make_file(1 << 20, 1), tmp_path / "large", tmp_path / "out"
    with source.open("wb") as file:
        for number in range(SIZE >> 20):
            file.write(number.to_bytes(8, "big") + part.read_bytes()[8:])
    with limited("share", source) as sharing:
        link = link_of(sharing)
        with limited("get", link, "-o", out, "--peer", peer_of(sharing)) as getting:
            assert getting.finish(60).code == 0
    with source.open("rb") as one, out.open("rb") as other:
        while data := one.read(1 << 20):
            assert other.read(1 << 20) == data
    source.unlink()
    out.unlink()


class Receiver(Holder):
    """Announce no chunks, and request some, a few at a time."""

    keeps_chunks = False

    def __init__(self, holding: Holding, indexes: Iterable[int]) -> None:
        super().__init__(holding)
        self._left = list(indexes)
        self._owed = 0
        self.is_done = False

    def greet(self, talk: Talk) -> None:
        talk.send(Hello(0))
        for _ in range(4):
            self._ask(talk)

    def on_message(self, talk: Talk, message: Heard) -> None:
        if isinstance(message, Chunk):
            self._owed -= 1
            self._ask(talk)

    def _ask(self, talk: Talk) -> None:
        if self._left:
            self._owed += 1
            talk.send(SealedRequest(self._left.pop()))
        self.is_done = not self._owed


@pytest.mark.parametrize("chunk", [CHUNK, 16 << 20], ids=["256 KiB", "16 MiB"])
async def test_a_source_of_fifty_peers_needs_little_memory(
    make_file: MakeFile, chunk: int
) -> None:
    source = make_file(PART * CROWD // 5, 2)
    with limited("share", source, "--chunk-size", chunk) as sharing:
        link = parse_link(link_of(sharing))
        sharing.wait_line("Ctrl-C", stream="err")
        address = parse_address(peer_of(sharing))
        # The holding has the right number of chunks, but not their bytes.
        size = source.stat().st_size
        holding = make_holding(bytes(size), chunk_size=chunk)._replace(link=link)
        count, each = size // chunk, max(1, PART // chunk)
        starts = Random(1).choices(range(count), k=CROWD)
        receivers = [
            Receiver(holding, ((start + i) % count for i in range(each)))
            for start in starts
        ]
        talks = [await receiver.dial(address) for receiver in receivers]
        for receiver in receivers:
            await receiver.until(lambda receiver=receiver: receiver.is_done)  # type: ignore[misc]
        assert not any(talk.is_lost for talk in talks)
        assert sum(len(talk.chunks) for talk in talks) == CROWD * each
        for receiver in receivers:
            receiver.end()


def test_clients_that_read_nothing_cost_little_memory(make_file: MakeFile) -> None:
    source = make_file(3 << 24, 5)
    with share_open(source, "--chunk-size", "16M") as sharing, ExitStack() as stack:
        where = parse_address(peer_of(sharing))
        for _ in range(IDLE):
            client = stack.enter_context(
                socket.create_connection((where.host, where.port))
            )
            client.sendall(encode_frame(Request(0)) + encode_frame(Request(1)))
        channel = sharing.wait_line("^[0-9a-f]{64}$", stream="out").string
        for _ in range(2):
            out = source.with_name("out")
            with run("get", channel, "-o", out, "--peer", where, "-f") as getting:
                assert getting.finish(60).code == 0
        assert peak_rss(sharing) << 10 < LIMIT


async def test_a_download_from_fifty_peers_needs_little_memory(tmp_path: Path) -> None:
    data = Random(3).randbytes(PART * CROWD // 5)
    holding, out = make_holding(data, chunk_size=CHUNK), tmp_path / "out"
    async with AsyncExitStack() as stack:
        # Slow enough to need all sources.
        holders = [SlowHolder(holding, 2.0) for _ in range(CROWD)]
        crowd = [await stack.enter_async_context(holder) for holder in holders]
        peers = [word for each in crowd for word in ("--peer", each.address)]
        with limited("get", holding.link, "-o", out, *peers) as program:
            ended = await asyncio.to_thread(program.finish, 60)
        assert ended.code == 0, ended.stderr
        assert sum(bool(each.sent) for each in crowd) > CROWD // 2
    assert out.read_bytes() == data


def test_a_lack_of_memory_ends_a_command() -> None:
    with Program([sys.executable, "-c", _NO_MEMORY]) as program:
        assert program.finish().stdout == b"MemoryError\n"
