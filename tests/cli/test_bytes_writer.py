"""Bytes for standard output are written without blocking the event loop."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.cli.bytes_writer import BytesWriter
from shoal.cli.output import ReaderGoneError
from shoal.core.names.address import Address
from shoal.node.node import Node
from tests.helpers.fetching import here

BLOCK = bytes(1 << 20)  # more than a pipe holds


@contextmanager
def output_pipe() -> Iterator[int]:
    """Let standard output be a pipe; yield the descriptor to read from."""
    reading, writing = os.pipe()
    # Not in a fixture: pytest replaces the stream before each test.
    with open(writing, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield reading
    os.close(reading)


async def test_a_node_uploads_while_standard_output_is_not_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    path.write_bytes(BLOCK)
    async with Node(here()) as node:
        share = await node.share(path)
        peer = Address("127.0.0.1", share.port)
        with output_pipe() as reading:
            writing = asyncio.create_task(BytesWriter().write(BLOCK))
            async with Node(here([peer])) as other:
                await other.fetch(share.link, tmp_path / "copy", timeout=10)
            assert not writing.done()
            read = asyncio.create_task(asyncio.to_thread(read_all, reading))
            await writing
            assert await read == BLOCK


def read_all(reading: int) -> bytes:
    with open(reading, "rb", closefd=False) as stream:
        return stream.read(len(BLOCK))


async def test_blocks_are_written_in_their_order() -> None:
    blocks = [bytes([number]) * 1000 for number in range(20)]
    with output_pipe() as reading:
        writer = BytesWriter()
        for block in blocks:
            await writer.write(memoryview(block))
        assert os.read(reading, 20_000) == b"".join(blocks)


async def test_a_reader_that_has_closed_the_pipe_ends_the_command() -> None:
    with output_pipe() as reading:
        writer = BytesWriter()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, reading)
        os.close(null)
        with pytest.raises(ReaderGoneError):
            await writer.write(BLOCK)
