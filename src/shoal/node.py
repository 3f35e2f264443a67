"""A running shoal: everything it shares and fetches, as one object.

Closing a `Node` ends what it serves and looks for. A download ends with the call
that started it. What only one way of using a node needs is imported there: a `shoal
chunk` fetches one chunk and ends, and would spend half its time on the rest.
"""

from collections.abc import Callable
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
