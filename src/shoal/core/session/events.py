"""What a session tells its connection: the events of a conversation; pure."""

from typing import TYPE_CHECKING, TypeAlias, Union

from msgspec import Struct

from shoal.core.manifest.chunks import Chunks
from shoal.core.wire.framing import LARGE_FRAME

if TYPE_CHECKING:  # each kind of share works without the messages of the other
    from shoal.core.manifest.blocks import Run
    from shoal.core.wire.handshake import Offer
    from shoal.core.wire.noise_messages import SealedData
    from shoal.core.wire.sealed_messages import SealedMessage

__all__ = [
    "AnyChunk",
    "BlocksReceived",
    "ChunkReceived",
    "ChunkRequested",
    "Event",
    "InfoReceived",
    "OfferReceived",
    "SealedChunkReceived",
    "keep_chunk",
]


class OfferReceived(Struct, frozen=True):
    """The handshake of a hash channel arrived, and its hashes gave the id."""

    offer: "Offer"


class InfoReceived(Struct, frozen=True):
    """The server of a named channel sent the sizes."""

    chunks: Chunks


class ChunkReceived(Struct, frozen=True):
    """A chunk arrived; it is not verified."""

    index: int
    data: bytes | memoryview
    """Its bytes; they stay unchanged as long as they are referenced."""
    buffer: bytearray | None
    """The memory of `data`, to return to the pool after its last use."""
    was_any: bool = False
    """Whether the peer chose which chunk to send."""


class BlocksReceived(Struct, frozen=True):
    """Blocks that were requested arrived; they are not verified."""

    read: int
    """Number of the request."""
    run: "Run"
    """The blocks that were requested; the length of the data is right."""
    hashes: bytes | None
    """The hashes of all blocks of the chunk, if requested; their number is right."""
    data: bytes | memoryview
    """The bytes; they stay unchanged as long as they are referenced."""


class SealedChunkReceived(Struct, frozen=True):
    """A chunk of a sealed share arrived; it is neither decrypted nor verified."""

    index: int
    data: "SealedData"
    buffer: bytearray
    """The memory of `data`, to return to the pool after its last use."""
    was_any: bool = False
    """Whether the peer chose which chunk to send."""


AnyChunk: TypeAlias = ChunkReceived | SealedChunkReceived
"""A chunk that was requested, decrypted or not."""


class ChunkRequested(Struct, frozen=True):
    """A client of an open channel requested a chunk that exists."""

    index: int
    echo: int | str
    """The index exactly as requested, for the response."""


Event: TypeAlias = Union[
    OfferReceived,
    InfoReceived,
    ChunkReceived,
    BlocksReceived,
    SealedChunkReceived,
    ChunkRequested,
    "SealedMessage",
]


def keep_chunk(
    index: int, data: memoryview, frame: memoryview, was_any: bool = False
) -> ChunkReceived:
    """Return the event for a chunk in `frame`, with bytes that stay unchanged."""
    if len(frame) < LARGE_FRAME:
        # The next bytes will be received into the same buffer.
        return ChunkReceived(index, bytes(data), None, was_any)
    buffer = frame.obj
    assert isinstance(buffer, bytearray)
    return ChunkReceived(index, data, buffer, was_any)
