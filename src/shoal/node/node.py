"""A node: everything that one program shares, fetches and reads.

Closing a `Node` ends its shares, its readers and its discovery. A download ends with
the call that started it. Modules that only one method needs are imported in that
method: `shoal chunk` fetches one chunk and exits, and would otherwise spend half its
time on imports.
"""

from collections.abc import (
    AsyncGenerator,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, contextmanager
from functools import cached_property, partial
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Self, Unpack

from shoal.config.settings import Settings, SettingsFields
from shoal.core.checks import check_callable, check_optional, check_type
from shoal.core.names.channel_id import Channel
from shoal.core.report.events import DownloadEvent, Notice
from shoal.core.report.units import format_count
from shoal.errors import UsageError
from shoal.node.checks import link_of
from shoal.node.local import LocalFiles
from shoal.resources import Resources

if TYPE_CHECKING:
    from shoal.config.arguments import AnyPath, FetchFields
    from shoal.core.manifest.file_tree import File
    from shoal.core.manifest.listing import Stat
    from shoal.core.manifest.manifest import Manifest, Missing
    from shoal.core.names.link import Link
    from shoal.core.report.counters import Counters
    from shoal.core.report.status import PortMapping, ShareStatus
    from shoal.reading.file import Opening
    from shoal.reading.share_cache import ShareCache
    from shoal.reading.share_caches import ShareCaches
    from shoal.storage.disk.disk import Disk
    from shoal.swarm.fetch import FetchResult

__all__ = ["Node"]


class Node(LocalFiles):
    """Share, fetch and read; an async context manager.

    ```python
    async with shoal.Node(limit_up="10M") as node:
        share = await node.share("model/")
        print(share.link)
        await share.shared()
    ```

    A setting that is not given has the value of its variable `SHOAL_…`, or its default.
    Methods that take a `Link` or `Channel` also take its text.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        disk: "Disk | None" = None,
        rng: Random | None = None,
        on_notice: Callable[[Notice], None] = lambda notice: None,
        **fields: Unpack[SettingsFields],
    ) -> None:
        """Prepare a node with `settings`, or with single `fields` of them.

        `on_notice` is called with problems that the user should know about although
        the node continues. Raises `UsageError` for a setting that cannot be parsed.
        """
        check_optional("settings", settings, Settings)
        if settings is not None and fields:
            raise TypeError("pass settings as one object or by name, not both")
        self.settings = settings or Settings.of(**fields)
        """How the network is used."""
        self._resources = Resources(
            self.settings, disk=disk, rng=rng, on_notice=on_notice
        )

    def __repr__(self) -> str:
        if self._resources.is_stopped:
            return "<Node, closed>"
        count = len(self._registry.served) if "_registry" in self.__dict__ else 0
        return f"<Node, open, serving {format_count(count, 'share')}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every share, reader and search for peers; idempotent."""
        await self._resources.aclose()

    def problems(self) -> tuple[str, ...]:
        """Return the current problems, in sentences for the user."""
        return self._resources.problems()

    def set_limits(self, *, up: float | None, down: float | None) -> None:
        """Change the rate limits of all shares together, from now on.

        `node.set_limits(up=1e6, down=None)`, in bytes per second; None is no limit.
        """
        for name, rate in (("up", up), ("down", down)):
            check_optional(name, rate, int, float)
            if rate is not None and rate <= 0:
                raise UsageError(
                    f"{name} is {rate}; pass a number above 0, or None for no limit."
                )
        now = monotonic()
        self._resources.up.change(up, now)
        self._resources.down.change(down, now)

    @property
    def counters(self) -> "Counters":
        """Return what all shares transferred: `node.counters.received["lan"]`."""
        return self._resources.counters

    @property
    def mappings(self) -> "tuple[PortMapping, ...]":
        """Return the ports of this node that the router passes connections on to.

        `[str(each.outside) for each in node.mappings]` are the addresses that peers on
        the internet can dial.
        """
        return self._resources.networks.mappings

    # Sealed shares.

    async def redeem(self, code: str, *, timeout: float | None = None) -> "Link":
        """Return the link that a code stands for: `link = await node.redeem(code)`.

        Afterwards the code may be used up, so keep the link. `timeout` is the longest
        wait, in seconds; the default is a minute. Raises `UsageError` if it is no code,
        `NotFoundError` if no node offers it, `CodeError` if it is wrong.
        """
        from shoal.node.codes import redeem

        return await redeem(self._registry, code, self._seconds(timeout))

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

        Without `out` the share keeps its own name, in the option `folder` or in the
        current folder; a single file is put into `out` if that ends in a slash.
        `options` are the fields of `FetchOptions`, as in `include="*.json"`. A code in
        place of the link is redeemed first, as by `redeem`. Existing files are
        overwritten only on request. After an error or a cancellation the same call
        resumes with the chunks that were verified.

        `timeout` is the longest wait for a new chunk, in seconds. With `seed`,
        `on_progress` is also called afterwards, as peers join, complete and leave.
        Raises `TargetExistsError`, `NotFoundError`, `UnfinishedError`,
        `VerificationError`, `ManifestError` or another `ShoalError`, and what
        `on_progress` raises.
        """
        from shoal.swarm.fetch import FetchResult

        check_callable("on_progress", on_progress)
        events = self._fetching(link, out, timeout, on_progress, options)
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
        """Fetch as `fetch` does; yield each event and, last, the result.

        ```python
        async with aclosing(node.fetching(link, "out/")) as events:
            async for event in events:
                if isinstance(event, shoal.Progress):
                    print(event.done, "of", event.size)
        ```

        Closing the generator early, as leaving this block does, cancels the fetch.
        """
        return self._fetching(link, out, timeout, lambda event: None, options)

    def _fetching(
        self,
        link: "str | Link",
        out: "AnyPath | None",
        timeout: float | None,
        on_later: Callable[[DownloadEvent], None],
        options: "FetchFields",
    ) -> "AsyncGenerator[DownloadEvent | FetchResult, None]":
        """Fetch; `on_later` is called with the events that follow the result."""
        from shoal.config.arguments import FetchOptions
        from shoal.node.codes import fetch_by
        from shoal.node.event_stream import stream_events

        chosen, seconds = FetchOptions.of(out, **options), self._seconds(timeout)
        fetch = fetch_by(self._registry, link, chosen, seconds)
        return stream_events(fetch, on_later)

    def open(
        self,
        link: "str | Link",
        path: str | None = None,
        *,
        timeout: float | None = None,
    ) -> "Opening":
        """Open a file of a share: `async with node.open(link, "a.txt") as file:`.

        Leave `path` out if the share is one file. A read fetches the chunks it needs;
        sequential reads also fetch some chunks ahead. Recently read chunks stay in
        memory. `file = await node.open(link, "a.txt")` works, too, and requires
        `await file.aclose()`.

        `timeout` is the longest wait for a chunk, in seconds. Raises `NotFoundError`,
        `UsageError` or what `manifest` raises.
        """
        from shoal.reading.file import AsyncFile, Opening
        from shoal.reading.reader import open_reader

        check_optional("path", path, str)
        link, seconds = link_of(link), self._seconds(timeout)

        async def start() -> AsyncFile:
            reader = await open_reader(self._share_caches, link, path, seconds)
            return AsyncFile(reader)

        return Opening(start)

    @contextmanager
    def reading(self, link: "str | Link") -> "Iterator[ShareCache]":
        """Stay in the swarm of a share, and keep its recently read chunks.

        ```python
        with node.reading(link) as reading:
            await reading.load(lambda manifest: manifest.missing_files(), timeout=None)
        ```

        All `open` files of one link use the same swarm and cache. Without this block
        both end some time after the last of these files is closed.
        """
        cache = self._share_caches.enter(link_of(link))
        try:
            yield cache
        finally:
            self._share_caches.leave(cache)

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
        from shoal.core.manifest.listing import missing_for, stat

        check_optional("path", path, str)
        manifest = await self.load(
            link, lambda m: missing_for(m, path), timeout=timeout
        )
        return stat(manifest, path)

    async def list(
        self,
        link: "str | Link",
        folder: str | None = None,
        *,
        timeout: float | None = None,
    ) -> "Sequence[File]":
        """Return the files of a share, or of a folder in it and its subfolders.

        `for file in await node.list(link): print(file.size, file.path)`. Raises
        `NotFoundError` or what `manifest` raises.
        """
        from shoal.core.manifest.listing import list_files

        check_optional("folder", folder, str)
        if folder:
            folder = folder.rstrip("/")
        manifest = await self.load(
            link, lambda m: m.missing_under(folder or ""), timeout=timeout
        )
        return await self._resources.in_thread(partial(list_files, manifest, folder))

    async def manifest(
        self,
        link: "str | Link",
        *,
        timeout: float | None = None,
        with_files: bool = True,
    ) -> "Manifest":
        """Return the manifest of a share, with its list of files or without.

        `print((await node.manifest(link)).root.name)`. Raises `NotFoundError` when no
        peer sends it in time, `ManifestError` when it describes an invalid share.
        """
        return await self.load(
            link, lambda m: m.missing_files() if with_files else (), timeout=timeout
        )

    async def load(
        self, link: "str | Link", missing: "Missing", *, timeout: float | None = None
    ) -> "Manifest":
        """Return the manifest of a share once `missing` returns no more pages to load.

        `await node.load(link, lambda manifest: manifest.missing_path("a.txt"))` loads
        what is needed to find one file of very many. Raises what `manifest` raises.
        """
        link = link_of(link)
        check_callable("missing", missing)
        async with self._resources.call():
            known = await self._registry.remembered(link.id, missing)
        if known is not None:
            return known
        with self.reading(link) as cache:
            return await cache.load(missing, self._seconds(timeout))

    def status(self, link: "str | Link") -> "ShareStatus":
        """Return the current state of a share on this node: `node.status(link).peers`.

        It requests nothing, so a share that was never requested has an empty status.
        The result refers to objects that change; read it before the next `await`.
        """
        share_id = link_of(link).id
        return self._registry.status(share_id, self._share_caches.positions(share_id))

    # Shares of both kinds.

    async def fetch_chunk(
        self,
        share: "str | Link | Channel",
        index: int,
        *,
        timeout: float | None = None,
    ) -> bytes:
        """Fetch one chunk of a share or open channel.

        `data = await node.fetch_chunk(link, 0)`; a chunk of a named channel is not
        verified. Raises `UsageError` when a peer reports that there is no such chunk,
        `NotFoundError` or `VerificationError` when no peer sends it in time.
        """
        check_type("share", share, str, Channel)
        check_type("index", index, int)
        if index < 0:
            raise UsageError(f"index is {index}; pass 0 or more.")
        if isinstance(share, str):
            from shoal.core.names.link import parse_share

            share = parse_share(share)
        seconds = self._seconds(timeout)
        if not isinstance(share, Channel):
            from shoal.reading.reader import read_chunk

            return await read_chunk(self._share_caches, share, index, seconds)
        from shoal.channel.fetch_chunk import fetch_chunk

        return await fetch_chunk(self._resources, share, index, seconds)

    @cached_property
    def _share_caches(self) -> "ShareCaches":
        from shoal.reading.share_caches import ShareCaches

        caches = ShareCaches(self._registry)
        self._resources.own(caches.aclose)
        return caches
