"""Blocking versions of share, fetch and open, for programs without an event loop.

Each call has its own node, on an event loop in its own thread. Both end when the
returned file or share is closed, or when the fetch is complete.
"""

import queue
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Self, Unpack, cast

from shoal.blocking.file import BlockingFile
from shoal.blocking.loop_thread import LoopThread
from shoal.config.arguments import AnyPath, FetchFields, ShareFields
from shoal.config.settings import Settings, SettingsFields
from shoal.core.checks import check_callable
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent, ShareEvent
from shoal.errors import UsageError
from shoal.node.node import Node

if TYPE_CHECKING:
    from shoal.swarm.fetch import FetchResult
    from shoal.swarm.share import SealedShare

__all__ = ["BlockingShare", "fetch", "open", "share"]


class ShareCall(ShareFields, SettingsFields):
    """The options of `share`: how to share, and how to use the network."""


class FetchCall(FetchFields, SettingsFields):
    """The options of `fetch`: what to fetch, and how to use the network."""


def open(
    link: str | Link, path: str | None = None, **settings: Unpack[SettingsFields]
) -> BlockingFile:
    """Open a file of a share; reading fetches the chunks that are needed.

    ```python
    with shoal.open(link, "logs.zip") as file:
        print(zipfile.ZipFile(file).namelist())
    ```

    Leave `path` out if the share is one file. `settings` are the fields of `Settings`,
    as in `peers="192.0.2.7:4001"`; their defaults are the variables `SHOAL_…`. Raises
    `NotFoundError`, `UsageError` or another `ShoalError`.
    """
    loop_thread = LoopThread(Settings.of(**settings))
    try:
        return BlockingFile(loop_thread, link, path, owns=True)
    except BaseException:
        loop_thread.close()
        raise


def fetch(
    link: str | Link,
    out: AnyPath | None = None,
    *,
    on_progress: Callable[[DownloadEvent], None] = lambda event: None,
    **options: Unpack[FetchCall],
) -> "FetchResult":
    """Fetch a share as `Node.fetch` does: `path = shoal.fetch(link, "out/").path`.

    `options` are the fields of `FetchOptions` but `seed`, and those of `Settings`.
    `on_progress` is called in this thread. An error that it raises cancels the fetch,
    as Ctrl-C does; the same call resumes later with the chunks that were verified.
    Raises what `Node.fetch` raises.
    """
    check_callable("on_progress", on_progress)
    if options.get("seed"):
        raise UsageError(
            "A blocking fetch ends when it is complete and cannot seed; "
            "call shoal.share afterwards."
        )
    settings, rest = _split({"seed": False, **options})
    events: queue.SimpleQueue[DownloadEvent | None] = queue.SimpleQueue()

    async def work(node: Node) -> "FetchResult":
        try:
            return await node.fetch(link, out, on_progress=events.put, **rest)
        finally:
            events.put(None)

    loop_thread = LoopThread(settings)
    try:
        future = loop_thread.begin(work)
        while (event := events.get()) is not None:
            on_progress(event)
        return future.result()
    finally:
        loop_thread.close()


def share(
    path: AnyPath | Sequence[AnyPath] | BinaryIO,
    *,
    receivers: int = 1,
    on_progress: Callable[[ShareEvent], None] = lambda event: None,
    **options: Unpack[ShareCall],
) -> "BlockingShare":
    """Share a file or folder, several, or a pipe until the returned share is closed.

    ```python
    with shoal.share("model/") as share:
        print(share.link)
        share.wait()
    ```

    `options` are the fields of `ShareOptions` and of `Settings`. `on_progress` is
    called in another thread. Raises what `Node.share` raises.
    """
    check_callable("on_progress", on_progress)
    settings, rest = _split(options)
    loop_thread = LoopThread(settings)
    try:
        shared = loop_thread.call(
            lambda node: node.share(
                path, receivers=receivers, on_progress=on_progress, **rest
            )
        )
    except BaseException:
        loop_thread.close()
        raise
    return BlockingShare(loop_thread, shared)


class BlockingShare:
    """A share that is served until `close`; a context manager."""

    def __init__(self, loop_thread: LoopThread, shared: "SealedShare") -> None:
        """Wrap a share and take over its loop thread; use `shoal.share` instead."""
        self.link = shared.link
        """The link that other machines pass to `fetch`; a `str`."""
        self.code = shared.code
        """The code that others can get the link with, if there is one."""
        self.manifest = shared.manifest
        """Names, sizes and hashes of the share."""
        self.port = shared.port
        """TCP port that this share listens on."""
        self._loop_thread = loop_thread
        self._share = shared
        self._generation = loop_thread.generation

    def __repr__(self) -> str:
        return repr(self._share).replace("SealedShare", "BlockingShare", 1)

    @property
    def uploaded(self) -> int:
        """Return the number of bytes of chunks sent to peers."""
        return self._share.uploaded

    def wait(self) -> None:
        """Wait until one peer has all chunks: `share.wait()`."""
        self._check()
        self._loop_thread.call(lambda node: self._share.shared())

    def close(self) -> None:
        """Send the chunks already requested, then stop sharing; idempotent."""
        if self._generation == self._loop_thread.generation:
            with suppress(ValueError):
                self._loop_thread.call(lambda node: self._share.leave())
        self._loop_thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self) -> None:
        if self._generation != self._loop_thread.generation:
            raise UsageError(
                "The parent process shares this; wait for it there, or share again."
            )


def _split(options: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Split the options of a call into settings and the rest."""
    known = Settings.__struct_fields__
    settings = {name: value for name, value in options.items() if name in known}
    rest = {name: value for name, value in options.items() if name not in known}
    return Settings.of(**cast(SettingsFields, settings)), rest
