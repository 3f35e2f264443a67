"""The same for code without an event loop: share, fetch and open, each blocking.

Each call has a node of its own, on a loop in a thread of its own, that ends with what
was returned: a file or a share when it is closed, a fetch when it is over.
"""

import queue
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Self, Unpack, cast

from shoal.blocking.file import BlockingFile
from shoal.blocking.loop_thread import Background
from shoal.config.options import AnyPath, FetchFields, ShareFields
from shoal.config.settings import Settings, SettingsFields
from shoal.core.names.link import Link, parse_link
from shoal.core.report.events import DownloadEvent, ShareEvent
from shoal.errors import UsageError
from shoal.node.node import Node
from shoal.swarm.operations import FetchResult, SealedShare

__all__ = ["BlockingShare", "fetch", "open", "share"]


class ShareCall(ShareFields, SettingsFields):
    """Name what `share` may be told: how to share, and how to use the network."""


class FetchCall(FetchFields, SettingsFields):
    """Name what `fetch` may be told: what to fetch, and how to use the network."""


def open(
    link: str | Link, path: str | None = None, **settings: Unpack[SettingsFields]
) -> BlockingFile:
    """Open a file of a share for reading; what is read is fetched.

    ```python
    with shoal.open(link, "logs.zip") as file:
        print(zipfile.ZipFile(file).namelist())
    ```

    `path` is left out where the share is one file. `settings` are the fields of
    `Settings`, as in `peers="192.0.2.7:4001"`, the variables `SHOAL_…` else. Raises
    `NotFoundError`, `UsageError` or another `ShoalError`.
    """
    background = Background(Settings.of(**settings))
    try:
        return BlockingFile(background, _parse(link), path, owns=True)
    except BaseException:
        background.close()
        raise


def fetch(
    link: str | Link,
    out: AnyPath | None = None,
    *,
    on_progress: Callable[[DownloadEvent], None] = lambda event: None,
    **options: Unpack[FetchCall],
) -> FetchResult:
    """Fetch a share as `Node.fetch` does: `path = shoal.fetch(link, "out/").path`.

    `options` are the fields of `FetchOptions` but `seed`, and those of `Settings`.
    `on_progress` is called in this thread. Ctrl-C and what it raises cancel the
    fetch; the same call goes on later with what was verified. Raises what
    `Node.fetch` raises.
    """
    if options.get("seed"):
        raise UsageError("A blocking fetch ends when it is complete; share it then.")
    link = _parse(link)
    settings, rest = _split({"seed": False, **options})
    events: queue.SimpleQueue[DownloadEvent | FetchResult | None] = queue.SimpleQueue()

    async def work(node: Node) -> None:
        try:
            async with aclosing(node.fetching(link, out, **rest)) as happening:
                async for event in happening:
                    events.put(event)
        finally:
            events.put(None)

    background = Background(settings)
    try:
        future = background.begin(work)
        result = None
        while (event := events.get()) is not None:
            if isinstance(event, FetchResult):
                result = event
            else:
                on_progress(event)
        future.result()
    finally:
        background.close()
    assert result is not None
    return result


def share(
    path: AnyPath,
    *,
    on_progress: Callable[[ShareEvent], None] = lambda event: None,
    **options: Unpack[ShareCall],
) -> "BlockingShare":
    """Share a file or folder until it is closed.

    ```python
    with shoal.share("model/") as share:
        print(share.link)
        share.wait()
    ```

    `options` are the fields of `ShareOptions` and of `Settings`. `on_progress` is
    called in a thread of its own. Raises what `Node.share` raises.
    """
    settings, rest = _split(options)
    background = Background(settings)
    try:
        shared = background.call(
            lambda node: node.share(path, on_progress=on_progress, **rest)
        )
    except BaseException:
        background.close()
        raise
    return BlockingShare(background, shared)


class BlockingShare:
    """A share that is served until it is closed; a context manager."""

    def __init__(self, background: Background, shared: SealedShare) -> None:
        """Take over `background`; `share` makes these."""
        self.link = shared.link
        """What others pass to `fetch`, as `str`."""
        self.manifest = shared.manifest
        """What is shared."""
        self.port = shared.port
        """TCP port that it is reached at."""
        self._background = background
        self._share = shared
        self._generation = background.generation

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were given to others."""
        return self._share.uploaded

    def wait(self) -> None:
        """Wait until some peer has everything: `share.wait()`."""
        self._check()
        self._background.call(lambda node: self._share.shared())

    def close(self) -> None:
        """Give what was asked for, then share no longer; idempotent."""
        if self._generation == self._background.generation:
            with suppress(ValueError):
                self._background.call(lambda node: self._share.leave())
        self._background.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self) -> None:
        if self._generation != self._background.generation:
            raise UsageError("It is the parent process that shares this.")


def _parse(link: str | Link) -> Link:
    return parse_link(link) if isinstance(link, str) else link


def _split(options: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Return the settings among the options of a call, and the rest of them."""
    known = Settings.__struct_fields__
    settings = {name: value for name, value in options.items() if name in known}
    rest = {name: value for name, value in options.items() if name not in known}
    return Settings.of(**cast(SettingsFields, settings)), rest
