"""The calls of a `Node` that concern files of this machine, and its open channels."""

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack, cast

from shoal.config.settings import Settings
from shoal.core.checks import check_callable, check_optional, check_type
from shoal.core.names.channel_id import Channel
from shoal.core.report.events import DownloadEvent, ShareEvent
from shoal.errors import UsageError, option
from shoal.node.checks import link_of
from shoal.resources import Resources

if TYPE_CHECKING:
    from shoal.channel.operations import OpenShare
    from shoal.config.arguments import AnyPath, ShareFields
    from shoal.core.manifest.manifest import Manifest
    from shoal.core.names.link import Link
    from shoal.storage.catalogue_entry import Entry
    from shoal.swarm.build_share import Given
    from shoal.swarm.copies import Comparison
    from shoal.swarm.member import Registry
    from shoal.swarm.share import SealedShare

__all__ = ["LocalFiles"]


class LocalFiles:
    """Serve and fetch open channels; share, seed and verify; a base class of `Node`."""

    settings: Settings
    """How the network is used."""
    _resources: Resources

    async def share_open(
        self,
        path: "AnyPath",
        channel: str | Channel | None = None,
        *,
        chunk_size: int | None = None,
        on_hashed: Callable[[int, int], None] = lambda done, size: None,
    ) -> "OpenShare":
        """Serve a file over an open channel: the named one, or a hash channel.

        `id = (await node.share_open("notes.txt")).channel.id`. `on_hashed` is called in
        a thread, with the bytes hashed so far and the size. Raises `UsageError`,
        `StoreError` or `NetworkError`.
        """
        from shoal.channel.operations import share_open

        check_type("path", path, str, os.PathLike)
        check_optional("channel", channel, str, Channel)
        check_optional("chunk_size", chunk_size, int)
        check_callable("on_hashed", on_hashed)
        return await share_open(self._resources, path, channel, chunk_size, on_hashed)

    async def fetch_open(
        self,
        channel: str | Channel,
        target: "AnyPath",
        *,
        overwrite: bool | None = None,
        seed: bool | None = None,
        timeout: float | None = None,
        on_progress: Callable[[DownloadEvent], None] = lambda event: None,
    ) -> "OpenShare | None":
        """Fetch an open channel to `target` from all of its servers.

        `await node.fetch_open("team-notes", "copy.txt")`; only hash channels are
        verified. `timeout` is the longest wait for a new chunk, in seconds. With `seed`
        the file is served afterwards and the share returned, and an existing target is
        verified instead of refused. Raises `TargetExistsError`, `NotFoundError`,
        `UnfinishedError`, `VerificationError` or another `ShoalError`.
        """
        from shoal.channel.operations import fetch_open

        check_type("channel", channel, str, Channel)
        check_type("target", target, str, os.PathLike)
        check_optional("overwrite", overwrite, bool)
        check_optional("seed", seed, bool)
        check_callable("on_progress", on_progress)
        return await fetch_open(
            self._resources,
            channel,
            target,
            overwrite=overwrite,
            seed=seed,
            timeout=self._seconds(timeout),
            on_event=on_progress,
        )

    def stream_open(
        self,
        channel: str | Channel,
        *,
        timeout: float | None = None,
        on_progress: Callable[[DownloadEvent], None] = lambda event: None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of an open channel in order, and write nothing to the disk.

        ```python
        async with aclosing(node.stream_open("team-notes")) as blocks:
            async for block in blocks:
                print(len(block))
        ```

        Only hash channels are verified, each byte before it is yielded. `timeout` is
        the longest wait for a new chunk, in seconds. Raises `NotFoundError`,
        `UnfinishedError`, `VerificationError` or another `ShoalError`.
        """
        from shoal.channel.operations import stream_open

        check_type("channel", channel, str, Channel)
        check_callable("on_progress", on_progress)
        seconds = self._seconds(timeout)
        return stream_open(self._resources, channel, seconds, on_progress)

    def _seconds(self, timeout: float | None) -> float | None:
        check_optional("timeout", timeout, int, float)
        return self.settings.timeout if timeout is None else timeout

    async def share(
        self,
        path: "AnyPath | Sequence[AnyPath] | BinaryIO",
        *,
        receivers: int = 1,
        on_progress: Callable[[ShareEvent], None] = lambda event: None,
        **options: "Unpack[ShareFields]",
    ) -> "SealedShare":
        """Share a file or folder: `link = (await node.share("photos/")).link`.

        Several paths in a list are shared as one folder. A binary file that is open,
        such as a pipe, is read to its end and kept in a file as long as it is shared;
        it needs the option `name`.

        The share is served until the node is closed. `options` are the fields of
        `ShareOptions`, as in `exclude="*.tmp"`; with `code=True`, the share has a
        `code` that so many `receivers` can `redeem` for a while. `on_progress` is
        called with `Hashing` events first, then as peers join, have everything and
        leave, and as the code is used. Raises `TypeError`, `UsageError`, `StoreError`
        or `NetworkError`.
        """
        from shoal.config.arguments import ShareOptions
        from shoal.swarm.operations import share_sealed

        check_callable("on_progress", on_progress)
        made = ShareOptions.of(receivers=receivers, **options)
        stream = _stream_of(path)
        if stream is not None:
            _refuse_for_folders(options)
        given = stream or _given(path, made.name)
        share = await share_sealed(self._registry, given, made, on_progress)
        if made.code:
            from shoal.node.codes import offer

            await offer(self._registry, share, made, on_progress)
        return share

    async def link(
        self,
        path: "AnyPath | Sequence[AnyPath]",
        *,
        on_progress: Callable[[ShareEvent], None] = lambda event: None,
        **options: "Unpack[ShareFields]",
    ) -> "tuple[Link, Manifest]":
        """Return the link that `share` would have, and the manifest; share nothing.

        `link, manifest = await node.link("photos/")`. `on_progress` is called with
        `Hashing` events. Raises as `share` does.
        """
        from shoal.config.arguments import ShareOptions
        from shoal.swarm.operations import link_sealed

        check_callable("on_progress", on_progress)
        made = ShareOptions.of(**options)
        given = _given(path, made.name)
        return await link_sealed(self._registry, given, made, on_progress)

    async def seed(
        self,
        entry: "Entry",
        *,
        on_progress: Callable[[ShareEvent], None] = lambda event: None,
    ) -> "SealedShare":
        """Serve a copy again that is in the user's catalogue, until the node is closed.

        `share = await node.seed(entry)`. `on_progress` is called as peers join, have
        everything and leave. Raises `VerificationError` if the copy has changed,
        `UnfinishedError` if it was not complete.
        """
        from shoal.storage.catalogue_entry import Entry
        from shoal.swarm.operations import seed_entry

        check_type("entry", entry, Entry)
        check_callable("on_progress", on_progress)
        return await seed_entry(self._registry, entry, on_progress)

    async def verify(
        self,
        link: "str | Link",
        path: "AnyPath",
        *,
        timeout: float | None = None,
        follow_symlinks: bool = False,
    ) -> "Manifest":
        """Return the manifest of a share if the file or folder at `path` matches it.

        `await node.verify(link, "photos/")` fetches only the hashes. Files that are
        not of the share are ignored. With `follow_symlinks`, a link counts as the file
        that it leads to. Raises `VerificationError` if it does not match.
        """
        compared = await self.compare(
            link, path, timeout=timeout, follow_symlinks=follow_symlinks
        )
        compared.check()
        return compared.manifest

    async def compare(
        self,
        link: "str | Link",
        path: "AnyPath",
        *,
        timeout: float | None = None,
        follow_symlinks: bool = False,
    ) -> "Comparison":
        """Return which files at `path` are changed, missing or not of the share.

        `(await node.compare(link, "photos/")).differences` fetches only the hashes.
        With `follow_symlinks`, a link counts as the file that it leads to. Raises
        `VerificationError` if one is a file and the other a folder.
        """
        from pathlib import Path

        from shoal.swarm.operations import compare_sealed

        check_type("path", path, str, os.PathLike)
        return await compare_sealed(
            self._registry,
            link_of(link),
            Path(path),
            self._seconds(timeout),
            follows_links=follow_symlinks,
        )

    @cached_property
    def _registry(self) -> "Registry":
        from shoal.swarm.member import Registry

        return Registry(self._resources)


def _stream_of(path: object) -> "BinaryIO | None":
    """Return what a caller shares if it is an open file."""
    return cast("BinaryIO", path) if hasattr(path, "read") else None


def _refuse_for_folders(options: "ShareFields") -> None:
    """Raise `UsageError` for options that an open file cannot have."""
    for name in ("include", "exclude", "follow_symlinks"):
        if options.get(name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option(flag)} is for the files of a folder, and an open file is "
                "shared as one; leave it out."
            )


def _given(path: object, name: str | None) -> "Given":
    """Return what a caller shares; raises `TypeError` or `UsageError`."""
    from pathlib import Path

    from shoal.swarm.build_share import Given

    is_one = isinstance(path, str | bytes | os.PathLike) or not isinstance(
        path, Iterable
    )
    paths: list[Any] = [path] if is_one else list(cast("Iterable[Any]", path))
    for each in paths:
        check_type("path", each, str, os.PathLike)
    if not paths:
        raise UsageError("There is no path to share; name at least one.")
    if "" in paths:  # Path("") would be the current folder
        raise UsageError("The path is empty; name a file or folder.")
    return Given.of([Path(each) for each in paths], name)
