"""The interfaces of everything that stores chunks.

Uploads read from a `ChunkReader`, such as `SharedFiles`. Downloads write to a
`DownloadStore`: `FileStore` on the disk, `ChunkCache` in memory, `VerifiedTargetStore`
for a target that was complete before. A caller verifies a chunk before `put`.

All methods may block, and one worker thread at a time calls them. `have` and methods
named `…_now` belong to the event loop, until `finish` or `close` begins.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.storage.disk.system import Data

__all__ = [
    "ChunkReader",
    "DownloadStore",
    "Span",
    "Verifiable",
    "Verify",
    "VerifySpan",
    "check_length",
]

Verify: TypeAlias = Callable[[int, Data], bool]
"""Return True if these bytes are the chunk with this index; called in any thread."""


class Span(Struct, frozen=True):
    """Name adjacent bytes of one chunk."""

    index: int
    """The chunk."""
    first: int
    """The first byte within the chunk."""
    end: int
    """The byte after the last one."""


VerifySpan: TypeAlias = Callable[[Span, Data, bytes], bool]
"""Return True if these bytes are the span, by block hashes that are verified first."""


class Verifiable(Protocol):
    """Verify what is read: files that may have changed since they were hashed."""

    verify: Verify | None
    """Verifies a chunk against the share's hashes; None until they are known."""
    verify_span: VerifySpan | None
    """Verifies a part of a chunk by block hashes; set with `verify`."""


class ChunkReader(Protocol):
    """Read the chunks of one share."""

    chunks: Chunks
    """How the share is divided."""
    have: Bitfield
    """The chunks that are stored; it changes as they arrive."""

    def get(self, index: int) -> bytes:
        """Return a chunk.

        Raises `KeyError` if it is not stored and `StoreError` if it cannot be read.
        """

    def get_into(self, index: int, buffer: memoryview) -> bytes | memoryview:
        """Return a chunk as `get` does, but in `buffer` where that saves new memory."""
        return self.get(index)

    def get_now(self, index: int) -> bytes | None:
        """Return a chunk if that does not block, otherwise None: then call `get`.

        Raises `KeyError` if it is not stored.
        """

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        """Return the results of `get_now` for several chunks."""
        return [self.get_now(index) for index in indexes]

    def get_span(self, span: Span) -> bytes:
        """Return some bytes of a chunk; raises as `get` does."""
        return self.get(span.index)[span.first : span.end]

    def get_span_now(self, span: Span) -> bytes | None:
        """Return the same if that does not block; raises as `get_now` does."""
        data = self.get_now(span.index)
        return None if data is None else data[span.first : span.end]

    def block_hashes_now(self, index: int) -> bytes | None:
        """Return the block hashes of a chunk where they are kept; they may be wrong.

        Returns None if they are not kept or cannot be read without blocking.
        """
        return None

    def close(self) -> None:
        """Close all files; idempotent."""


class DownloadStore(ChunkReader):
    """Read the chunks of one download and store the missing ones.

    The methods defined here suit a store without a disk, which has nothing to commit,
    finish or close.
    """

    @abstractmethod
    def put_many(self, items: Sequence[tuple[int, Data]]) -> None:
        """Store verified chunks; chunks that are stored already stay unchanged.

        Raises `ValueError` if the length of a chunk is wrong.
        """

    def put(self, index: int, data: Data) -> None:
        """Store one verified chunk."""
        self.put_many(((index, data),))

    @property
    def is_behind(self) -> bool:
        """Return True while no chunk should be put until a commit ends."""
        return False

    def is_commit_due(self, now: float) -> bool:
        """Return True if it is time to `commit`; `now` is in monotonic seconds."""
        return False

    def commit(self) -> None:
        """Make all stored chunks survive a power loss; wait for the disk."""

    def finish(self) -> None:
        """Give the complete download its final name."""

    def close(self) -> None:
        """Close all files; idempotent."""


def check_length(chunks: Chunks, index: int, data: Data) -> None:
    """Raise `ValueError` unless `data` has the length of chunk `index`."""
    if not 0 <= index < chunks.count:
        raise ValueError(f"chunk {index} of {chunks.count}")
    if len(data) != chunks.length(index):
        raise ValueError(
            f"chunk {index} has {len(data)} bytes instead of {chunks.length(index)}"
        )
