"""A call that ends while a thread opens a file for it leaves no file open."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

import shoal
from shoal.core.names.address import Address
from shoal.errors import ShoalError
from shoal.storage.disk.disk import Disk, Name
from tests.helpers.fetching import here

CONTENT = Random(1).randbytes(100_000)


class Pausing(Disk):
    """Pause before a file is opened to be read, and know which files are open."""

    def __init__(self, path: Path) -> None:
        """Pause at `path`, the first time."""
        super().__init__()
        self.opened: set[int] = set()
        self.reached = asyncio.Event()
        self.go_on = threading.Event()
        self._path = path
        self._loop = asyncio.get_running_loop()

    def open_read(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> int:
        """Pause, and open the file."""
        if Path(path) == self._path and not self.reached.is_set():
            self._loop.call_soon_threadsafe(self.reached.set)
            self.go_on.wait(20)
        fd = super().open_read(path, at=at, follow=follow)
        self.opened.add(fd)
        return fd

    def close(self, fd: int) -> None:
        """Close the file."""
        self.opened.discard(fd)
        super().close(fd)


async def fetch(node: shoal.Node, link: shoal.Link, path: Path) -> object:
    return await node.fetch(link, path, seed=True, timeout=20)


async def fetch_twice(node: shoal.Node, link: shoal.Link, path: Path) -> object:
    """Fetch twice at once: the second fetch copies what the first one has fetched."""
    first = node.fetch(link, path, timeout=20)
    return await asyncio.gather(first, node.fetch(link, f"{path}-2", timeout=20))


async def open_copy(node: shoal.Node, link: shoal.Link, path: Path) -> object:
    """Read the copy that another node of this user has fetched."""
    return await node.open(link)


async def share_open(node: shoal.Node, link: shoal.Link, path: Path) -> object:
    return await node.share_open(path, "name")


Call = Callable[[shoal.Node, shoal.Link, Path], Awaitable[object]]
HAVING = (open_copy, share_open)  # there is a copy before the call


@pytest.mark.reads_local_copies
@pytest.mark.parametrize("how", ["cancelled", "closed"])
@pytest.mark.parametrize("call", [fetch, fetch_twice, *HAVING])
async def test_what_a_thread_opens_for_a_call_that_has_ended_is_closed(
    call: Call, how: str, tmp_path: Path, own_home: Path
) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(CONTENT)
    disk = Pausing(copy)
    async with shoal.Node(here()) as sharer:
        share = await sharer.share(source)
        peer = Address("127.0.0.1", share.port)
        if call in HAVING:
            async with shoal.Node(here([peer])) as other:
                await other.fetch(share.link, copy, timeout=20)
            await share.leave()
            source.unlink()
        node = shoal.Node(here([peer]), disk=disk)
        task = asyncio.ensure_future(call(node, share.link, copy))
        async with asyncio.timeout(20):
            await disk.reached.wait()
        closing = asyncio.ensure_future(node.aclose()) if how == "closed" else None
        if closing is None:
            task.cancel()
        await asyncio.sleep(0)  # the call has been told
        disk.go_on.set()
        with pytest.raises((asyncio.CancelledError, ShoalError)):
            await task
        await (closing or node.aclose())
    assert not disk.opened
