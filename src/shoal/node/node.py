"""A running shoal: everything it shares, fetches and reads, as one object.

Closing a `Node` ends what it serves, reads and looks for. A download ends with the
call that started it. What only one way of using a node needs is imported there: a
`shoal chunk` fetches one chunk and ends, and would spend half its time on the rest.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Unpack

from shoal.core.names.channel_id import Channel
from shoal.core.report.events import DownloadEvent, ShareEvent
from shoal.node.channel_node import ChannelNode

if TYPE_CHECKING:
    from shoal.config.options import AnyPath, FetchFields, ShareFields
    from shoal.core.manifest.file_table import File
    from shoal.core.manifest.listing import Stat
    from shoal.core.manifest.manifest import Manifest
    from shoal.core.names.link import Link
    from shoal.core.report.counters import Tally
    from shoal.core.report.status import ShareStatus
    from shoal.reading.file import Opening
    from shoal.reading.share_cache import Reading, Readings
    from shoal.swarm.operations import FetchResult, SealedShare

__all__ = ["Node"]


class Node(ChannelNode):
    """Share, fetch and read; an async context manager.

    ```python
    async with shoal.Node(limit_up="10M") as node:
        share = await node.share("model/")
        print(share.link)
        await share.shared()
    ```

    Whatever is not given is what the variables `SHOAL_…` say, or the default. Where a
    link is wanted its text will do.
    """

    _readings: "Readings | None" = None

    async def share(
        self,
        path: "AnyPath",
        *,
        on_progress: Callable[[ShareEvent], None] = lambda event: None,
        **options: "Unpack[ShareFields]",
    ) -> "SealedShare":
        """Share a file or folder: `link = (await node.share("photos/")).link`.

        It is served until the node is closed. `options` are the fields of
        `ShareOptions`, as in `exclude="*.tmp"`. `on_progress` hears of `Hashing`
        first, then of peers that come and go. Raises `UsageError`, `StoreError` or
        `NetworkError` when it cannot be.
        """
        from pathlib import Path

        from shoal.config.options import ShareOptions
        from shoal.swarm.operations import share_sealed

        made = ShareOptions.of(**options)
        return await share_sealed(self._services, Path(path), made, on_progress)

    async def fetch(
        self,
        link: "str | Link",
        out: "AnyPath | None" = None,
        *,
        timeout: float | None = None,
        on_progress: Callable[[DownloadEvent], None] = lambda event: None,
        **options: "Unpack[FetchFields]",
    ) -> "FetchResult":
        """Fetch a share: `result = await node.fetch(link, "out/", on_progress=print)`.

        Without `out` it gets its own name, in `folder` or here; a single file goes
        into `out` if that ends in a slash. `options` are the fields of
        `FetchOptions`, as in `include="*.json"`. Nothing that exists is overwritten
        unasked. Whatever ends it, cancellation too, the same call goes on later with
        what was verified.

        `timeout` is the longest wait for a new chunk, in seconds. Raises
        `TargetExistsError`, `NotFoundError`, `UnfinishedError`, `VerificationError`,
        `ManifestError` or another `ShoalError`, and what `on_progress` raises.
        """
        from shoal.swarm.operations import FetchResult

        events = self.fetching(link, out, timeout=timeout, **options)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, FetchResult):
                    return event
                on_progress(event)
        raise AssertionError("the last event is the result")

    def fetching(
        self,
        link: "str | Link",
        out: "AnyPath | None" = None,
        *,
        timeout: float | None = None,
        **options: "Unpack[FetchFields]",
    ) -> "AsyncGenerator[DownloadEvent | FetchResult, None]":
        """Fetch as `fetch` does, and yield all that happens, last the result.

        ```python
        async with aclosing(node.fetching(link, "out/")) as events:
            async for event in events:
                if isinstance(event, shoal.Progress):
                    print(event.done, "of", event.size)
        ```

        Closing it before its end, as leaving this block does, cancels the fetch.
        """
        from shoal.config.options import FetchOptions
        from shoal.node.event_stream import watched
        from shoal.swarm.operations import fetch_sealed

        fetch = partial(
            fetch_sealed,
            self._services,
            _link(link),
            FetchOptions.of(out, **options),
            self._patience(timeout),
        )
        return watched(fetch)

    def open(
        self,
        link: "str | Link",
        path: str | None = None,
        *,
        timeout: float | None = None,
    ) -> "Opening":
        """Open a file of a share: `async with node.open(link, "a.txt") as file:`.

        `path` is left out where the share is one file. What is read is fetched, and
        for who reads on and on some more; what was read lately is kept in memory.
        `file = await node.open(link, "a.txt")` works, too, and wants
        `await file.aclose()`.

        `timeout` is the longest wait for a chunk, in seconds. Raises
        `NotFoundError`, `UsageError` or what `manifest` raises.
        """
        from shoal.reading.file import AsyncFile, Opening, open_reader

        link, seconds = _link(link), self._patience(timeout)

        async def start() -> AsyncFile:
            readings = self._open_readings()
            return AsyncFile(await open_reader(readings, link, path, seconds))

        return Opening(start)

    @contextmanager
    def reading(self, link: "str | Link") -> "Iterator[Reading]":
        """Stay in the swarm of what is read, and keep what was read lately.

        ```python
        with node.reading(link) as reading:
            await reading.load(lambda manifest: manifest.file_pages, timeout=None)
        ```

        It is what all `open` files of that link have in common; without a block like
        this it ends some time after the last of them.
        """
        readings = self._open_readings()
        reading = readings.enter(_link(link))
        try:
            yield reading
        finally:
            readings.leave(reading)

    async def stat(
        self,
        link: "str | Link",
        path: str | None = None,
        *,
        timeout: float | None = None,
    ) -> "Stat":
        """Describe a share, or a file or folder in it: `(await node.stat(link)).size`.

        Raises `NotFoundError` or what `manifest` raises.
        """
        from shoal.core.manifest.listing import stat

        return stat(await self.manifest(link, timeout=timeout), path)

    async def list(
        self,
        link: "str | Link",
        folder: str | None = None,
        *,
        timeout: float | None = None,
    ) -> "Sequence[File]":
        """Return the files of a share, or of a folder in it and below.

        `for file in await node.list(link): print(file.size, file.path)`. Raises
        `NotFoundError` or what `manifest` raises.
        """
        from shoal.core.manifest.listing import list_files

        return list_files(await self.manifest(link, timeout=timeout), folder)

    async def manifest(
        self,
        link: "str | Link",
        *,
        timeout: float | None = None,
        with_files: bool = True,
    ) -> "Manifest":
        """Return what a share says of itself, with its list of files or without.

        `print((await node.manifest(link)).root.name)`. Raises `NotFoundError` when
        nobody has it, `ManifestError` when it is hostile.
        """
        with self.reading(link) as reading:
            return await reading.load(
                lambda m: m.file_pages if with_files else (), self._patience(timeout)
            )

    @property
    def tally(self) -> "Tally":
        """Return what all shares moved so far: `node.tally.received["lan"]`."""
        return self._services.tally

    def status(self, link: "str | Link") -> "ShareStatus":
        """Return how a share stands on this node now: `node.status(link).peers`.

        Nothing is fetched for it: of a share that nobody has asked for yet nothing is
        known. What it returns refers to what changes, so look at it at once.
        """
        from shoal.core.report.status import ShareStatus

        share_id = _link(link).id
        swarms = [s.status() for i, s in self._services.swarms if i == share_id]
        holding = self._services.holdings.get(share_id)
        known = [s for s in swarms if s.have is not None] or swarms
        return ShareStatus(
            next((s.manifest for s in known if s.manifest is not None), None),
            holding.store.have if holding else next((s.have for s in known), None),
            frozenset[int]().union(*(s.asked for s in swarms)),
            self._readings.positions(share_id) if self._readings else frozenset(),
            tuple(peer for s in swarms for peer in s.peers),
        )

    async def verify(
        self, link: "str | Link", path: "AnyPath", *, timeout: float | None = None
    ) -> "Manifest":
        """Return the manifest of a share if what is at `path` is that share.

        `await node.verify(link, "photos/")` fetches the hashes only. Raises
        `VerificationError` when it is not.
        """
        from pathlib import Path

        from shoal.swarm.operations import verify_sealed

        seconds = self._patience(timeout)
        return await verify_sealed(self._services, _link(link), Path(path), seconds)

    async def fetch_chunk(
        self,
        share: "str | Link | Channel",
        index: int,
        *,
        timeout: float | None = None,
    ) -> bytes:
        """Fetch one chunk of a share or open channel.

        `data = await node.fetch_chunk(link, 0)`; that of a named channel is not
        verified. Raises `UsageError` when there is no such chunk and somebody says
        so, `NotFoundError` or `VerificationError` when nobody gives it in time.
        """
        if isinstance(share, str):
            from shoal.core.names.link import parse_share

            share = parse_share(share)
        if not isinstance(share, Channel):
            from shoal.reading.file import read_chunk

            seconds = self._patience(timeout)
            return await read_chunk(self._open_readings(), share, index, seconds)
        from shoal.channel.fetch_chunk import ChunkQuery

        networks = self._services.networks
        query = ChunkQuery(
            share,
            index,
            rng=self._services.rng,
            timeout=self._patience(timeout),
            search=networks.search,
        )
        return await query.run(networks.find(share.topic))

    def _open_readings(self) -> "Readings":
        from shoal.reading.share_cache import Readings

        if self._readings is None:
            self._readings = Readings(self._services)
            self._services.owned.push_async_callback(self._readings.aclose)
        return self._readings


def _link(link: "str | Link") -> "Link":
    from shoal.core.names.link import parse_link

    return parse_link(link) if isinstance(link, str) else link
