"""The calls of a `Node` that serve and fetch open channels."""

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from shoal.config.settings import Settings
from shoal.core.names.channel_id import Channel
from shoal.core.report.events import DownloadEvent
from shoal.node.checks import check_optional, check_type
from shoal.resources import Resources

if TYPE_CHECKING:
    from shoal.channel.operations import OpenShare
    from shoal.config.arguments import AnyPath

__all__ = ["OpenChannels"]


class OpenChannels:
    """Serve and fetch files over the workshop's protocol; a base class of `Node`."""

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
        seconds = self._seconds(timeout)
        return stream_open(self._resources, channel, seconds, on_progress)

    def _seconds(self, timeout: float | None) -> float | None:
        check_optional("timeout", timeout, int, float)
        return self.settings.timeout if timeout is None else timeout
