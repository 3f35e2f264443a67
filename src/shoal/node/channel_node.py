"""What every node is: how long it lives, and the open channels that it serves.

`Node` adds sealed shares. They are apart so that each can be read by itself.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Self, Unpack

from shoal.config.settings import Settings, SettingsFields
from shoal.core.names.channel_id import Channel
from shoal.core.report.events import DownloadEvent, Notice
from shoal.core.wire.handshake import DEFAULT_CHUNK_SIZE
from shoal.resources import Services

if TYPE_CHECKING:
    from shoal.channel.operations import OpenShare
    from shoal.config.options import AnyPath
    from shoal.storage.disk.disk import Disk

__all__ = ["ChannelNode"]


class ChannelNode:
    """Serve and fetch open channels; an async context manager."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        disk: "Disk | None" = None,
        rng: Random | None = None,
        on_notice: Callable[[Notice], None] = lambda notice: None,
        **fields: Unpack[SettingsFields],
    ) -> None:
        """Prepare a node, with `settings` or with single `fields` of them.

        `on_notice` hears what the user should know and what stops nothing. Raises
        `UsageError` when a setting cannot be read.
        """
        if settings is not None and fields:
            raise TypeError("give settings as a whole or by their names, not both")
        self.settings = settings or Settings.of(**fields)
        """How the network is used."""
        self._services = Services(
            self.settings, disk=disk, rng=rng, on_notice=on_notice
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End everything that serves, reads and looks for peers; idempotent."""
        await self._services.aclose()

    def problems(self) -> tuple[str, ...]:
        """Return what does not work at the moment, in sentences for the user."""
        return self._services.problems()

    # Open channels.

    async def share_open(
        self,
        path: "AnyPath",
        channel: str | Channel | None = None,
        *,
        chunk_size: int | None = None,
        on_hashed: Callable[[int, int], None] = lambda done, size: None,
    ) -> "OpenShare":
        """Serve a file over an open channel: the one named, or a hash channel.

        `id = (await node.share_open("notes.txt")).channel.id`. `on_hashed` hears,
        from a thread, how many bytes of how many are hashed. Raises `UsageError`,
        `StoreError` or `NetworkError` when it cannot be.
        """
        from pathlib import Path

        from shoal.channel.operations import share_open
        from shoal.config.options import ShareOptions
        from shoal.core.names.channel_id import check_name

        if chunk_size is None:
            chunk_size = ShareOptions.of().chunk_size or DEFAULT_CHUNK_SIZE
        named = check_name(channel) if isinstance(channel, str) else channel
        return await share_open(
            self._services, Path(path), named, chunk_size, on_hashed
        )

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
        """Fetch an open channel to `target`, from all who serve it.

        `await node.fetch_open("team-notes", "copy.txt")`; only a hash channel is
        verified. `timeout` is the longest wait for a new chunk, in seconds. With
        `seed` the share is served afterwards and returned, and a target that exists
        is verified instead of refused. Raises `TargetExistsError`, `NotFoundError`,
        `UnfinishedError`, `VerificationError` or another `ShoalError`.
        """
        from pathlib import Path

        from shoal.channel.operations import fetch_open
        from shoal.config.options import FetchOptions

        usual = FetchOptions.of()
        return await fetch_open(
            self._services,
            _channel(channel),
            Path(target),
            overwrite=usual.overwrite if overwrite is None else overwrite,
            seed=usual.seed if seed is None else seed,
            timeout=self._patience(timeout),
            on_event=on_progress,
        )

    def _patience(self, timeout: float | None) -> float | None:
        return self.settings.timeout if timeout is None else timeout


def _channel(channel: str | Channel) -> Channel:
    from shoal.core.names.channel_id import parse_channel

    return parse_channel(channel) if isinstance(channel, str) else channel
