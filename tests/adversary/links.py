"""Attacks of the maker of a link on the commands of its receivers.

They may use up neither the memory nor the processor of this machine.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from shoal.core.crypto.hashes import root_digest
from shoal.core.manifest.chunk_sizes import MAX_CHUNKS
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.hash_table import level_counts
from shoal.core.manifest.pages import PageKey
from shoal.core.manifest.root import VERSION, Root, encode_root
from shoal.core.names.link import Link
from shoal.core.wire.sealed_messages import Want
from tests.helpers.badholders import Silent
from tests.helpers.commands import (
    cpu_time,
    link_of,
    peak_rss,
    peer_of,
    run,
    share,
)
from tests.helpers.holder import Holding, Talk

__all__ = ["LINKS"]

DEEP = 14  # folders, one in the other, of the longest names
FILES = 12_000  # with paths of 3,900 bytes: a table of 45 MiB
MOST_PEAK = 256 << 10  # KiB of memory that a command may use at any time
PATIENCE = 60.0  # seconds
CHUNK_SIZE = 16_384  # bytes: the smallest, so that there are most
HOLDERS = 12
# A second for the start of the command, and 8 MiB of each holder to decrypt.
MOST_CPU = 6.0  # seconds with the most chunks
MOST_LARGE_PEAK = 768 << 10  # KiB with the most chunks: a bitfield has 8 MiB


def archives_of_long_names(folder: Path) -> None:
    """Have a user save a folder of many long names from the page, three times."""
    _make_long_names(folder / "long")
    with (
        share(folder / "long") as sharer,
        run("serve", link_of(sharer), "--peer", peer_of(sharer)) as serving,
    ):
        url = serving.wait_line("^http", stream="out").string
        with ThreadPoolExecutor(3) as pool:
            saved = [pool.submit(_status_of, f"{url}zip/0/") for _ in range(3)]
        assert {each.result() for each in saved} <= {200, 403, 503}
        peak = peak_rss(serving)
    assert peak <= MOST_PEAK, f"{peak >> 10} MiB of memory were in use at a time"


def _status_of(url: str) -> int:
    """Read a response to its end; return its status."""
    try:
        with urlopen(url, timeout=PATIENCE) as answer:
            while answer.read(1 << 20):
                pass
            return int(answer.status)
    except HTTPError as error:
        return error.code


def _make_long_names(top: Path) -> None:
    """Make many empty files with long names, deep below a folder."""
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    try:
        for _ in range(DEEP):
            os.mkdir("d" * 250, dir_fd=at)
            below = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        for number in range(FILES):
            os.close(os.open(f"{number:0250}", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    finally:
        os.close(at)


class Patterned(Silent):
    """Have every second chunk, want all, and send neither chunks nor pages."""

    def greet(self, talk: Talk) -> None:
        super().greet(talk)
        talk.send(Want([(0, self.holding.chunks.count)]))

    @property
    def bitfield(self) -> bytes:
        return b"\xaa" * (self.holding.chunks.count // 8)

    def on_page(self, talk: Talk, key: PageKey) -> None:
        pass


def most_chunks(folder: Path) -> None:
    """Read a share of as many chunks as there may be; many holders have every second.

    Such a share needs no more than a root record with invented hashes.
    """
    asyncio.run(_read(_invented(MAX_CHUNKS)))


def _invented(count: int) -> Holding:
    """Return a share of so many chunks, of which nothing but the root exists."""
    hashes = os.urandom(32 * level_counts(count)[-1])
    size = count * CHUNK_SIZE
    root = encode_root(
        Root(chunk_size=CHUNK_SIZE, hashes=hashes, name="x", size=size, version=VERSION)
    )
    chunks = Chunks(size, CHUNK_SIZE)
    return Holding(Link(root_digest(root)), root, {}, chunks, bytes)


async def _read(holding: Holding) -> None:
    async with AsyncExitStack() as stack:
        words: list[object] = ["cat", holding.link, "--range", "0-9", "--timeout", 6]
        for _ in range(HOLDERS):
            holder = await stack.enter_async_context(Patterned(holding))
            words += ["--peer", holder.address]
        with run(*words) as reading:
            peak, cpu = 0, 0.0
            while reading.running:
                with suppress(AssertionError, OSError):  # it may end meanwhile
                    peak = max(peak, peak_rss(reading))
                    cpu = cpu_time(reading)
                await asyncio.sleep(0.1)
            ended = reading.finish(PATIENCE)
            assert ended.code == 3, ended
    assert peak <= MOST_LARGE_PEAK, f"{peak >> 10} MiB of memory were in use at a time"
    assert cpu <= MOST_CPU, f"{cpu} s of processor time for {HOLDERS} arrivals"


def name_that_hides(folder: Path) -> None:
    """Share a folder that other programs would read, under their name for it."""
    source, target = folder / ".git", folder / "target"
    (source / "hooks").mkdir(parents=True)
    (source / "hooks" / "post-checkout").write_text("#!/bin/sh\n")
    target.mkdir()
    with share(source) as sharer:
        words = ("get", link_of(sharer), "--peer", peer_of(sharer))
        with run(*words, cwd=target) as program:
            ended = program.finish(PATIENCE)
        assert ended.code == 2, ended
        assert "named .git, and" in ended.stderr, ended
        assert not list(target.iterdir()), list(target.iterdir())


LINKS: dict[str, Callable[[Path], None]] = {
    case.__name__: case
    for case in (
        archives_of_long_names,
        most_chunks,
        name_that_hides,
    )
}
"""All cases by name; each is given an empty folder."""
