"""Hashing large folders stops neither downloads nor uploads of the same node."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shoal.core.names.address import Address
from shoal.node.node import Node
from shoal.storage.disk.disk import Disk
from tests.helpers.fetching import PATIENCE, here
from tests.helpers.folders import list_folder, make_folder

SHARES = 6  # more than there are threads that hash
CHUNK = 65_536
CHUNKS = 40


class HeldDisk(Disk):
    """A disk whose reads of some files wait, as those of very large ones take long."""

    def __init__(self, held: Path) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.waiting = threading.Semaphore(0)
        self._held = str(held)

    @asynccontextmanager
    async def released(self) -> AsyncIterator[None]:
        """Let the reads go on at the end of the block, however it ends."""
        try:
            yield
        finally:
            self.go_on.set()

    def pread_into(self, fd: int, buffer: bytearray | memoryview, offset: int) -> int:
        if str(self._name(fd)).startswith(self._held):
            self.waiting.release()
            self.go_on.wait(60)
        return super().pread_into(fd, buffer, offset)


async def test_shares_that_are_being_hashed_stop_neither_fetches_nor_uploads(
    tmp_path: Path,
) -> None:
    disk = HeldDisk(tmp_path / "held")
    folders = [
        make_folder(tmp_path / f"held-{n}", 3, sizes=(200_000, 300_000))
        for n in range(SHARES)
    ]
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (CHUNK * CHUNKS // 256))
    async with Node(here()) as source:
        share = await source.share(path, chunk_size=CHUNK, new_link=True)
        peers = [Address("127.0.0.1", share.port)]
        async with Node(here(peers), disk=disk) as node, disk.released():
            hashing = [asyncio.create_task(node.share(each)) for each in folders]
            for _ in range(4):
                assert await asyncio.to_thread(disk.waiting.acquire, timeout=20)
            # This node begins and finishes a download meanwhile ...
            fetched = await node.fetch(
                share.link, tmp_path / "copy", timeout=PATIENCE, seed=True
            )
            assert sum(node.counters.received.values()) == CHUNK * CHUNKS
            # ... and uploads all of it.
            assert fetched.share is not None
            await source.aclose()
            peers = [Address("127.0.0.1", fetched.share.port)]
            async with Node(here(peers)) as third:
                await third.fetch(share.link, tmp_path / "third", timeout=PATIENCE)
            assert fetched.share.uploaded == CHUNK * CHUNKS
            assert not any(task.done() for task in hashing)
            disk.go_on.set()
            shares = await asyncio.gather(*hashing)
    assert len({each.link.id for each in shares}) == SHARES
    assert (tmp_path / "third").read_bytes() == path.read_bytes()
    assert list_folder(folders[0])
