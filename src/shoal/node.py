"""A running shoal: everything it shares and fetches, as one object.

Closing a `Node` ends what it serves and looks for. A download ends with the call
that started it. What only one way of using a node needs is imported there: a `shoal
chunk` fetches one chunk and ends, and would spend half its time on the rest.
"""

from collections.abc import AsyncGenerator, Callable
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Self

from shoal.core.handshake import DEFAULT_CHUNK_SIZE
from shoal.core.link import Channel
from shoal.progress import DownloadEvent, Notice
from shoal.services import Services
from shoal.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from shoal.channels import OpenShare
    from shoal.core.manifest import Manifest
    from shoal.core.sealed_link import Link
    from shoal.options import FetchOptions, ShareOptions
    from shoal.shares import SealedShare
    from shoal.storage.disk import Disk

__all__ = ["Node"]


class Node:
    """Share and fetch; an async context manager."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        disk: "Disk | None" = None,
        rng: Random | None = None,
        on_notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        """Prepare a node; without `settings` the `SHOAL_…` variables count."""
        self.settings = settings or Settings.from_environ()
        self._services = Services(
            self.settings, disk=disk, rng=rng, on_notice=on_notice
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End everything that serves and looks for peers; idempotent."""
        await self._services.aclose()

    def problems(self) -> tuple[str, ...]:
        """Return what does not work at the moment, in sentences for the user."""
        return self._services.networks.problems()

    # Sealed shares.

    async def share(
        self,
        path: "Path",
        options: "ShareOptions | None" = None,
        *,
        on_hashed: Callable[[int, int], None] = lambda done, size: None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
    ) -> "SealedShare":
        """Share a file or folder with everyone who is given its link.

        `on_hashed` hears, from a thread, how many bytes of how many are hashed.
        Raises `UsageError`, `StoreError` or `NetworkError` when it cannot be.
        """
        from shoal.options import ShareOptions
        from shoal.shares import share_sealed

        options = options or ShareOptions()
        return await share_sealed(self._services, path, options, on_hashed, on_event)

    async def fetch(
        self,
        link: "Link",
        options: "FetchOptions | None" = None,
        *,
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
    ) -> "tuple[Path, SealedShare | None]":
        """Fetch a share; return where it is and, if it is seeded on, the share.

        `timeout` is the longest wait for a new chunk, in seconds. Raises
        `TargetExistsError`, `NotFoundError`, `UnfinishedError`,
        `VerificationError`, `ManifestError` or another `ShoalError`.
        """
        from shoal.options import FetchOptions
        from shoal.shares import fetch_sealed

        options = options or FetchOptions()
        return await fetch_sealed(self._services, link, options, timeout, on_event)

    async def manifest(
        self, link: "Link", *, timeout: float | None = None, with_files: bool = True
    ) -> "Manifest":
        """Return what a share says of itself, with its list of files or without."""
        from shoal.shares import load_manifest

        return await load_manifest(self._services, link, timeout, with_files=with_files)

    async def verify(
        self, link: "Link", path: "Path", *, timeout: float | None = None
    ) -> "Manifest":
        """Return the manifest of a share if what is at `path` is that share.

        Raises `VerificationError` when it is not.
        """
        from shoal.shares import verify_sealed

        return await verify_sealed(self._services, link, path, timeout)

    def read(
        self,
        link: "Link",
        where: "Callable[[Manifest], tuple[int, int]]",
        *,
        timeout: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield bytes of a share in order, each as soon as it is verified.

        `where` returns the first byte and the end of what is wanted, given the
        manifest. Only what holds it is fetched.
        """
        from shoal.shares import read_sealed

        return read_sealed(self._services, link, where, timeout)

    # Open channels.

    async def share_open(
        self,
        path: "Path",
        channel: Channel | None = None,
        *,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        on_hashed: Callable[[int, int], None] = lambda done, size: None,
    ) -> "OpenShare":
        """Serve a file over an open channel: the one named, or a hash channel.

        `on_hashed` hears, from a thread, how many bytes of how many are hashed.
        Raises `UsageError`, `StoreError` or `NetworkError` when it cannot be.
        """
        from shoal.channels import share_open

        return await share_open(self._services, path, channel, chunk_size, on_hashed)

    async def fetch_open(
        self,
        channel: Channel,
        target: "Path",
        *,
        overwrite: bool = False,
        seed: bool = False,
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
    ) -> "OpenShare | None":
        """Fetch an open channel to `target`, from all who serve it.

        `timeout` is the longest wait for a new chunk, in seconds. With `seed` the
        share is served afterwards and returned, and a target that exists is
        verified instead of refused.
        Raises `TargetExistsError`, `NotFoundError`, `UnfinishedError`,
        `VerificationError` or another `ShoalError`.
        """
        from shoal.channels import fetch_open

        return await fetch_open(
            self._services,
            channel,
            target,
            overwrite=overwrite,
            seed=seed,
            timeout=timeout,
            on_event=on_event,
        )

    async def fetch_chunk(
        self, channel: Channel, index: int, *, timeout: float | None = None
    ) -> bytes:
        """Fetch one chunk of an open channel; a hash channel's is verified.

        Raises `UsageError` when there is no such chunk and a server says so,
        `NotFoundError` or `VerificationError` when nobody gives it in time.
        """
        from shoal.query import ChunkQuery

        networks = self._services.networks
        query = ChunkQuery(
            channel,
            index,
            rng=self._services.rng,
            timeout=timeout,
            problems=networks.problems,
        )
        return await query.run(networks.find(channel.topic))
