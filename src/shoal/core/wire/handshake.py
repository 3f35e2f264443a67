"""Verify the handshake of a hash channel, or build it; pure.

The id commits to the hashes of all chunks and to nothing else. The sizes in a handshake
are claims of one server: they must agree with the number of hashes, and are used for
the connection to that server only. docs/protocol.md, "Hash channels".
"""

import hashlib
import re

from msgspec import Struct

from shoal.core.manifest.chunks import MAX_CHUNK_SIZE, Chunks
from shoal.core.names.channel_id import Channel
from shoal.core.wire.messages import Handshake, encode_frame
from shoal.errors import LyingPeerError, ProtocolError, UsageError, option

__all__ = [
    "DEFAULT_CHUNK_SIZE",
    "DIGEST_SIZE",
    "MAX_SENT_HANDSHAKE",
    "Offer",
    "check_fits",
    "check_handshake",
    "check_sizes",
    "encode_handshake",
]

DEFAULT_CHUNK_SIZE = 1024  # bytes; as the workshop's programs, so the ids are equal
DIGEST_SIZE = 32  # bytes of a SHA-256
MAX_SENT_HANDSHAKE = 8 * 1024 * 1024  # bytes; up to 64 MiB are accepted
MAX_FILE_SIZE = 1 << 53  # bytes; a Node program counts no further
_SIZE_PER_HASH = 2 * DIGEST_SIZE + 2  # bytes: digits after the head of a msgpack str
_SIZE_WITHOUT_HASHES = 128  # bytes, rounded up: keys, sizes and the frame's length
_HEX = r"[0-9a-f]*"


class Offer(Struct, frozen=True):
    """Hold a verified handshake: hashes that give the id, and sizes that agree."""

    digests: bytes
    """The SHA-256 of every chunk, concatenated."""
    chunk_size: int
    """Bytes; `DEFAULT_CHUNK_SIZE` if the server left it out."""
    file_size: int | None
    """Bytes; None if the server left it out."""

    @property
    def count(self) -> int:
        """Return how many chunks there are."""
        return len(self.digests) // DIGEST_SIZE

    @property
    def chunks(self) -> Chunks | None:
        """Return how the file is cut into chunks; None if its size is unknown."""
        if self.file_size is None:
            return None
        return Chunks(self.file_size, self.chunk_size)

    def measure(self, first: int, last: int) -> Chunks:
        """Return how the file is cut, by the lengths of its first and last chunk.

        Raises `ProtocolError` if no file in chunks of one size has these lengths.
        """
        size = first * (self.count - 1) + last
        chunk_size = first if self.count > 1 else max(first, self.chunk_size)
        if not 0 < last <= first or check_sizes(size, chunk_size).count != self.count:
            raise ProtocolError("chunks of different sizes")
        return Chunks(size, chunk_size)

    def verifies(self, index: int, data: bytes | bytearray | memoryview) -> bool:
        """Return True if `data` is chunk `index`."""
        start = index * DIGEST_SIZE
        expected = self.digests[start : start + DIGEST_SIZE]
        return hashlib.sha256(data).digest() == expected


def check_sizes(file_size: int, chunk_size: int) -> Chunks:
    """Return how a file of these claimed sizes is cut into chunks.

    Raises `ProtocolError` if they are out of range.
    """
    if not 1 <= chunk_size <= MAX_CHUNK_SIZE:
        raise ProtocolError(f"a chunk size of {chunk_size} bytes")
    if not 0 <= file_size < MAX_FILE_SIZE:
        raise ProtocolError(f"a file size of {file_size} bytes")
    return Chunks(file_size, chunk_size)


def check_handshake(channel: Channel, handshake: Handshake) -> Offer:
    """Return the verified handshake of a server of `channel`.

    Raises `LyingPeerError` if its hashes do not give the channel's id or its sizes do
    not agree with them, `ProtocolError` if it is malformed.
    """
    hashes = handshake.hashes
    text = "".join(hashes)
    # All at once, because there may be a million. An element of two lines would give
    # the same id as two elements.
    if not set(map(len, hashes)) <= {2 * DIGEST_SIZE} or not re.fullmatch(_HEX, text):
        raise ProtocolError("a hash that is not 64 lower-case hex digits")
    if hashlib.sha256("\n".join(hashes).encode()).hexdigest() != channel.id:
        raise LyingPeerError("a handshake whose hashes do not give the channel's id")
    chunk_size, file_size = handshake.chunk_size, handshake.file_size
    if not hashes and file_size is None:
        file_size = 0
    if chunk_size is None:
        chunk_size = DEFAULT_CHUNK_SIZE
    if check_sizes(file_size or 0, chunk_size).count != len(hashes):
        if file_size is not None:
            raise LyingPeerError("hashes that do not agree with the sizes beside them")
    return Offer(bytes.fromhex(text), chunk_size, file_size)


def check_fits(chunks: Chunks) -> None:
    """Check that the handshake of a file is not too large to send.

    Raises `UsageError` that names a chunk size that fits.
    """
    most = (MAX_SENT_HANDSHAKE - _SIZE_WITHOUT_HASHES) // _SIZE_PER_HASH
    if chunks.count <= most:
        return
    chunk_size = chunks.chunk_size
    while Chunks(chunks.size, chunk_size).count > most:
        chunk_size *= 2
        if chunk_size > MAX_CHUNK_SIZE:
            raise UsageError(
                "This file is too large for an open channel; make it a sealed share."
            )
    raise UsageError(
        f"With chunks of {chunks.chunk_size} B this file has {chunks.count:,}, "
        f"too many for an open channel; use {option('--chunk-size', chunk_size)}."
    )


def encode_handshake(digests: bytes, chunks: Chunks) -> bytes:
    """Return the frame of a hash channel's handshake."""
    text = digests.hex()
    width = 2 * DIGEST_SIZE
    hashes = [text[i : i + width] for i in range(0, len(text), width)]
    return encode_frame(Handshake(hashes, chunks.chunk_size, chunks.size))
