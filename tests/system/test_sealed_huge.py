"""Reading one chunk of a share of 1 TiB costs no more than of a small share."""

import asyncio
import os
import sys
from pathlib import Path
from random import Random

import pytest

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.blocks import BLOCK_SIZE
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.pages import PageKey
from tests.helpers.commands import LOOPBACK, run
from tests.helpers.holder import Holder, holding_of
from tests.helpers.huge import CHUNKS, TRUE, make_manifest, true_chunk
from tests.helpers.pages import hash_page
from tests.helpers.process import Program

MAX_MEMORY = 200 << 10  # KiB
# Runs a command and prints its peak memory.
_MEASURE = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode;"
    "used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss;"
    "sys.stderr.write(f'peak {used}\\n'); sys.exit(code)"
)


def span_of(index: int) -> str:
    """Return the range of a chunk's bytes."""
    start = CHUNKS.offset(index)
    return f"{start}-{start + CHUNKS.length(index) - 1}"


def assert_sent_once(holder: Holder, index: int) -> None:
    """Check that one chunk was sent, each of its blocks once and in order."""
    length = holder.holding.chunks.length(index)
    sent = [(run.index, n) for run in holder.sent_blocks for n in run.blocks]
    assert sent == [(index, n) for n in range(-(-length // BLOCK_SIZE))]
    assert not holder.sent


@pytest.mark.parametrize("index", TRUE)
async def test_one_chunk_costs_the_root_and_two_pages(index: int) -> None:
    async with Holder(holding_of(make_manifest(), true_chunk)) as holder:
        args = (holder.holding.link, "-r", span_of(index), "--peer", holder.address)
        with run("cat", *args) as program:
            ended = await asyncio.to_thread(program.finish)
        assert ended.code == 0, ended.stderr
        assert ended.stdout == true_chunk(index)
        pages = [PageKey("hashes", 1, 0), hash_page(index // 2048)]
        assert holder.pages_requested == pages
        assert_sent_once(holder, index)


async def test_one_chunk_of_64_tib_costs_the_root_and_two_pages() -> None:
    chunks, index = Chunks(64 << 40, 16 << 20), 3_000_000
    data = Random(1).randbytes(chunks.chunk_size)
    digests = bytearray(32 * chunks.count)
    digests[32 * index : 32 * index + 32] = chunk_digest(data)
    manifest = build_manifest("huge", chunks.size, chunks.chunk_size, bytes(digests))
    async with Holder(holding_of(manifest, lambda number: data)) as holder:
        start = chunks.offset(index)
        args = (holder.holding.link, "-r", f"{start}-{start + (16 << 20) - 1}")
        with run("cat", *args, "--peer", holder.address) as program:
            ended = await asyncio.to_thread(program.finish)
        assert ended.code == 0, ended.stderr
        assert ended.stdout == data
        top = PageKey("hashes", 1, index // 2048**2)
        assert holder.pages_requested == [top, hash_page(index // 2048)]
        assert_sent_once(holder, index)


def test_memory_does_not_grow_with_the_share(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    serving = [sys.executable, "-m", "tests.helpers.huge", str(path)]
    with Program(serving, has_input=True) as server:
        _, link, port = server.wait_line("^ready").string.split()
        words = ["cat", link, "-r", span_of(TRUE[1]), "--peer", f"127.0.0.1:{port}"]
        shoal = [sys.executable, "-m", "shoal", *words]
        measuring = [sys.executable, "-c", _MEASURE, *shoal]
        with Program(measuring, env={**os.environ, **LOOPBACK}) as reader:
            reading = int(reader.wait_line(r"^peak (\d+)", stream="err")[1])
            ended = reader.finish()
        server.end_input()
        sharing = int(server.wait_line(r"^peak (\d+)")[1])
    path.unlink()
    assert ended.code == 0
    assert ended.stdout == true_chunk(TRUE[1])
    assert reading < MAX_MEMORY
    assert sharing < MAX_MEMORY
