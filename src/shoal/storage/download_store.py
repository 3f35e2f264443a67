"""What a download needs of a store beyond putting chunks in."""

from typing import Protocol

from shoal.storage.store import ChunkStore

__all__ = ["DownloadStore"]


class DownloadStore(ChunkStore, Protocol):
    """Keep the chunks of one download until it is whole."""

    @property
    def is_behind(self) -> bool:
        """Say whether no more should be put until a commit has ended; never waits."""

    def is_commit_due(self, now: float) -> bool:
        """Say whether it is time to `commit`; never waits."""

    def commit(self) -> None:
        """Make what was put so far outlive a power loss; waits for the disk."""

    def finish(self) -> None:
        """Give what is whole its final name."""
