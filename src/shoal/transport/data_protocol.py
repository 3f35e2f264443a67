"""The protocol between an encrypted connection and one that takes chunk data sealed.

The data of chunks is received apart and decrypted by the thread that verifies it
(docs/protocol.md, "Chunk data").
"""

import asyncio
from typing import TYPE_CHECKING

from shoal.core.wire.framing import BufferPool

if TYPE_CHECKING:  # it imports cryptography, which open channels do not need
    from shoal.core.wire.noise_messages import SealedData

__all__ = ["DataProtocol"]


class DataProtocol(asyncio.BufferedProtocol):
    """A protocol that takes the data of chunks as it came, not decrypted."""

    @property
    def pool(self) -> BufferPool:
        """Return the buffers to receive it into."""
        raise NotImplementedError

    @property
    def awaited_data(self) -> int:
        """Return how many bytes of chunk data come next; 0 for none.

        Also 0 if some of them were passed to `buffer_updated`.
        """
        raise NotImplementedError

    @property
    def longest_data(self) -> int:
        """Return the most bytes of chunk data that were announced so far."""
        raise NotImplementedError

    def read_done(self, nbytes: int, data_missing: int, held_back: int) -> None:
        """Act on all that one read of `nbytes` bytes from the socket has brought.

        Of the data of a chunk that has begun, `data_missing` bytes are to come. At most
        `held_back` received bytes were not passed on yet.
        """
        raise NotImplementedError

    def data_complete(self, data: "SealedData", buffer: bytearray) -> None:
        """Take all `awaited_data`; its memory is `buffer`, from the pool."""
        raise NotImplementedError

    def data_written(self) -> None:
        """Note that the socket has accepted more of the data that waited for it."""
        raise NotImplementedError
