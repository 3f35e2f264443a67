"""What an origin is, whatever protocol it is asked by.

A source yields bytes of files and knows nothing of chunks. Whatever it raises is its
own fault; nothing it sends is believed.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from shoal.core.schedule.origin_parts import Part
from shoal.errors import PeerError

__all__ = ["ByteReader", "ByteSource", "FileError"]


class FileError(PeerError):
    """Blame an origin for one file, which it has not or not as it should be."""


class ByteReader(Protocol):
    """Yield bytes of files, by one protocol."""

    def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield exactly the bytes that were asked for, as they come.

        Raises `FileError` when others may be had, else another `PeerError`.
        """

    async def aclose(self) -> None:
        """Let go of connections; idempotent."""


class ByteSource(ByteReader, Protocol):
    """Yield bytes of the files of a share."""

    @property
    def name(self) -> str:
        """Return what it is called in messages; no secret is in it."""
