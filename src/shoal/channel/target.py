"""Where a download goes: what may happen to a file that is there already."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from shoal.core.manifest.chunks import Chunks
from shoal.core.names.channel_id import Channel
from shoal.core.wire.handshake import Offer
from shoal.errors import UnfinishedError
from shoal.storage.disk.disk import Data, Disk
from shoal.storage.download.completed import open_verified_target
from shoal.storage.download.filestore import FileStore
from shoal.storage.download.staging import check_target
from shoal.storage.store import DownloadStore

__all__ = ["Target"]


class Target:
    """Open the store of one download once its sizes are known."""

    def __init__(
        self, path: Path, channel: Channel, disk: Disk, *, overwrite: bool, seed: bool
    ) -> None:
        """Look at what is at `path`; blocks.

        Raises `TargetExistsError` for something that is there, unless it is to be
        overwritten or, with `seed`, verified and served; `StoreError` when there is
        no folder to put it in.
        """
        self.path = path
        self._channel = channel
        self._disk = disk
        self._overwrite = overwrite
        self._exists = seed and not overwrite and disk.state_at(path) is not None
        if not self._exists:
            check_target(path, channel.identity, disk=disk, overwrite=overwrite)

    def open_store(
        self, chunks: Chunks, offer: Offer | None, stopped: Callable[[], bool]
    ) -> DownloadStore:
        """Open the store for these sizes; blocks, for long when it has to verify.

        Raises `UnfinishedError` once `stopped` says so, or what the store raises.
        """
        verify = None if offer is None else self._make_verify(offer, stopped)
        identity = self._identity(chunks)
        if self._exists:
            return open_verified_target(
                self.path, chunks, verify, disk=self._disk, identity=identity
            )
        return FileStore.open(
            self.path,
            identity,
            chunks,
            disk=self._disk,
            overwrite=self._overwrite,
            verify=verify,
        )

    def _identity(self, chunks: Chunks) -> bytes:
        """Return 32 bytes that tell this download from all others to the target.

        They cover the sizes, which are a server's claim: a wrong claim must not
        make what an earlier run fetched look like something else's.
        """
        sizes = f"{chunks.size} {chunks.chunk_size}"
        return sha256(self._channel.identity + sizes.encode()).digest()

    def _make_verify(
        self, offer: Offer, stopped: Callable[[], bool]
    ) -> Callable[[int, Data], bool]:
        def verify(index: int, data: Data) -> bool:
            if stopped():
                raise UnfinishedError(f"{self.path} was not looked through.")
            return offer.verifies(index, data)

        return verify
