"""A disk whose flushes take long: the network goes on for a while, then waits.

What a power loss may take stays bounded however slow the disk is.
"""

import asyncio
import threading
from pathlib import Path
from random import Random

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Chunks
from shoal.core.report.events import DownloadEvent, Progress, Started
from shoal.core.schedule.window import IN_FLIGHT_LIMIT
from shoal.node.node import Node
from shoal.storage.disk.disk import Disk
from shoal.storage.download.filestore import WRITE_BEHIND
from shoal.transfer.writer import BATCH_SIZE, MAX_BATCHES
from tests.helpers.fetching import here
from tests.helpers.holder import Holder, Holding, holding_of

CHUNK = 1 << 20
COUNT = 4 * WRITE_BEHIND // CHUNK
PATTERN = Random(1).randbytes(CHUNK - 8)


class SlowDisk(Disk):
    """Flush data only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_flush = threading.Event()
        self.flushing = threading.Event()
        self.is_slow = False

    def fdatasync(self, fd: int) -> None:
        if self.is_slow:
            self.flushing.set()
            assert self.may_flush.wait(30)
        super().fdatasync(fd)


def chunk(index: int) -> bytes:
    return index.to_bytes(8, "big") + PATTERN


def make_holding() -> Holding:
    chunks = Chunks(COUNT * CHUNK, CHUNK)
    digests = b"".join(chunk_digest(chunk(index)) for index in range(COUNT))
    manifest = build_manifest("x", chunks.size, CHUNK, digests, salt=bytes(16))
    return holding_of(manifest, chunk)


class Watch:
    """Remember how much was fetched, and when nothing more came."""

    def __init__(self, disk: SlowDisk) -> None:
        self.done = 0
        self._disk = disk

    def on_event(self, event: DownloadEvent) -> None:
        if isinstance(event, Started):
            self._disk.is_slow = True
        if isinstance(event, Progress):
            self.done = event.done

    async def until_it_rests(self) -> None:
        """Wait until several looks in a row find no progress."""
        seen, same = -1, 0
        while same < 6:
            await asyncio.sleep(0.3)
            same = same + 1 if seen == self.done and self.done else 0
            seen = self.done


async def test_a_slow_flush_holds_up_the_network_only_when_much_waits(
    tmp_path: Path,
) -> None:
    out, disk = tmp_path / "out", SlowDisk()
    watch = Watch(disk)
    async with Holder(make_holding()) as holder:
        async with Node(here([holder.address]), disk=disk, rng=Random(1)) as node:
            fetching = asyncio.create_task(
                node.fetch(
                    holder.holding.link,
                    out,
                    timeout=30,
                    on_progress=watch.on_event,
                )
            )
            try:
                await watch.until_it_rests()
            finally:
                disk.may_flush.set()
            rested_at, given = watch.done, len(holder.sent) * CHUNK
            await fetching
    assert disk.flushing.is_set()
    # What was in the threads' hands when it became too much is written, too.
    assert WRITE_BEHIND <= rested_at <= WRITE_BEHIND + MAX_BATCHES * BATCH_SIZE
    assert given <= rested_at + IN_FLIGHT_LIMIT, "it piles up in memory"
    assert out.stat().st_size == COUNT * CHUNK
    with out.open("rb") as file:
        assert all(file.read(CHUNK) == chunk(index) for index in range(COUNT))
