"""Decode the messages of a sealed share, which follow the handshake; pure.

They are those of docs/protocol.md, "Sealed messages". As in all frames, messages of
other types and unknown keys are ignored. The sizes in the annotations are limits on
what a peer may send; a message beyond them is malformed.
"""

from collections.abc import Callable
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from shoal.core.manifest.pages import PAGE_SIZE, PageKey, Table
from shoal.core.wire.messages import encode_frame, encode_varint, message_decoder

__all__ = [
    "MAX_BITFIELD",
    "MAX_MEET_WAIT",
    "MAX_PEERS",
    "MAX_RANGES",
    "BitfieldPiece",
    "BlockRequest",
    "Blocks",
    "Cancel",
    "Finished",
    "Goodbye",
    "Have",
    "Hello",
    "Meeting",
    "OriginFetch",
    "Page",
    "Peers",
    "Reason",
    "Refuse",
    "SealedMessage",
    "SealedRequest",
    "SealedResponse",
    "Want",
    "WrongChunk",
    "blocks_header",
    "decode_sealed",
    "response_frame",
]

MAX_PEERS = 50  # addresses in one message
MAX_HOST = 64  # characters of an IP address; the longest has 45
MAX_MEET_PORTS = 2  # ports at which one peer may be reached
MAX_MEET_WAIT = 2000  # milliseconds
MAX_RANGES = 4096  # ranges in one announcement
MAX_ROOT = 8192  # bytes of a root record
MAX_BITFIELD = 65536  # bytes in one message; larger bitfields take several
MAX_LEVEL = 7  # of a manifest page
MAX_REASON = 64  # characters
MAX_BLOCKS = 256  # blocks of one chunk
MAX_BLOCK_HASHES = 8192  # bytes: the hashes of these blocks

Index: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 32)]
Port: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 16)]
Range: TypeAlias = tuple[Index, Index]
Host: TypeAlias = Annotated[str, Meta(max_length=MAX_HOST)]


class Hello(Struct, frozen=True, tag="hello", tag_field="type", omit_defaults=True):
    """Open the conversation; sent again when the root record becomes known."""

    port: Port
    """TCP port that other peers may dial; 0 for none."""
    root: Annotated[bytes, Meta(max_length=MAX_ROOT)] | None = None
    """The root record; absent until the sender knows it."""
    bitfield: Annotated[bytes, Meta(max_length=MAX_BITFIELD)] | None = None
    """The chunks that the sender has; absent until it knows the root record. Empty if
    it does not fit: then its pieces follow."""
    seen: tuple[Host, Port] | None = None
    """The global IP address and port that the receiver has on this connection."""


class BitfieldPiece(Struct, frozen=True, tag="bitfield", tag_field="type"):
    """Continue a hello whose bitfield does not fit into one message."""

    bits: Annotated[bytes, Meta(max_length=MAX_BITFIELD)]
    """The next bytes of the bitfield; all pieces but the last have `MAX_BITFIELD`."""


class Have(Struct, frozen=True, tag="have", tag_field="type"):
    """Announce new chunks."""

    ranges: Annotated[list[Range], Meta(max_length=MAX_RANGES)]
    """First index and number of each run."""


class Want(Struct, frozen=True, tag="want", tag_field="type"):
    """List the chunks that the sender wants, if it does not want all."""

    ranges: Annotated[list[Range], Meta(max_length=MAX_RANGES)]
    """First index and number of each run."""


class OriginFetch(Struct, frozen=True, tag="pulling", tag_field="type"):
    """Announce chunks that the sender fetches from an origin."""

    ranges: Annotated[list[Range], Meta(max_length=MAX_RANGES)]
    """First index and number of each run."""


class SealedRequest(
    Struct, frozen=True, tag="request", tag_field="type", omit_defaults=True, gc=False
):
    """Request a chunk."""

    index: Index | None = None
    """Absent to request any chunk that the sender wants and has not announced."""


class SealedResponse(Struct, frozen=True, tag="response", tag_field="type", gc=False):
    """Announce a chunk, whose data follows the frame."""

    index: Index
    length: Annotated[int, Meta(ge=0, lt=1 << 32)]
    """The bytes of data that follow."""


class BlockRequest(
    Struct, frozen=True, tag="read", tag_field="type", omit_defaults=True, gc=False
):
    """Request adjacent blocks of a chunk."""

    read: Index
    """Number of the request; no other open request of the sender has it."""
    index: Index
    """The chunk."""
    first: Annotated[int, Meta(ge=0, lt=MAX_BLOCKS)]
    """The first block."""
    count: Annotated[int, Meta(ge=1, le=MAX_BLOCKS)]
    """How many blocks."""
    hashes: bool = False
    """Whether the answer should have the hashes of all blocks of the chunk."""


class Blocks(Struct, frozen=True, tag="blocks", tag_field="type", omit_defaults=True):
    """Send the requested blocks."""

    read: Index
    """Number of the request."""
    data: memoryview
    """The bytes of the blocks; a view of the frame that they arrived in."""
    hashes: Annotated[bytes, Meta(max_length=MAX_BLOCK_HASHES)] | None = None
    """The hashes of all blocks of the chunk, if they were requested."""


class Page(Struct, frozen=True, tag="page", tag_field="type", omit_defaults=True):
    """Request a manifest page or, with its data, send it."""

    table: Table
    level: Annotated[int, Meta(ge=0, le=MAX_LEVEL)]
    """0 for a leaf."""
    index: Index
    """Of hashes, the number of the page in its level. Of files, the number of the first
    file in or below the page."""
    data: Annotated[bytes, Meta(max_length=PAGE_SIZE)] | None = None
    """Empty if the sender does not have the page."""

    @property
    def key(self) -> PageKey:
        """Return the name of the page."""
        return PageKey(self.table, self.level, self.index)


class Cancel(
    Struct, frozen=True, tag="cancel", tag_field="type", omit_defaults=True, gc=False
):
    """Cancel a request."""

    index: Index
    read: Index | None = None
    """Number of a request for blocks, which is then answered by a refusal."""


class Refuse(Struct, frozen=True, tag="refuse", tag_field="type", omit_defaults=True):
    """Refuse a request."""

    index: Index | None = None
    """As requested; absent for any chunk."""
    reason: Annotated[str, Meta(max_length=MAX_REASON)] = ""
    """One of `Reason`."""
    read: Index | None = None
    """Number of the request for blocks that is refused."""


class WrongChunk(Struct, frozen=True, tag="wrong", tag_field="type", gc=False):
    """Report that a chunk from the receiver of this message did not verify."""

    index: Index


class Finished(Struct, frozen=True, tag="finished", tag_field="type", gc=False):
    """Announce that the sender's copy of the whole share survives a power loss."""


class Peers(Struct, frozen=True, tag="peers", tag_field="type"):
    """Name other peers."""

    # Any text and number: an address that cannot be dialled is ignored. It must not end
    # the connection with the peer that passed it on.
    addresses: Annotated[list[tuple[str, int]], Meta(max_length=MAX_PEERS)]
    """IP address and listening port of each."""


class Meeting(Struct, frozen=True, tag="meet", tag_field="type"):
    """Have the receiver dial a peer that is asked at the same time to dial it."""

    host: Host
    """Its IP address as the sender sees it."""
    # As in `Peers`, an address that cannot be dialled is ignored.
    ports: Annotated[list[int], Meta(min_length=1, max_length=MAX_MEET_PORTS)]
    """The ports at which it may be reached: the one that it listens on, and the one
    that it has dialled the sender from."""
    wait: Annotated[int, Meta(ge=0, le=MAX_MEET_WAIT)]
    """Milliseconds to wait, so that both dial at the same time."""


class Goodbye(Struct, frozen=True, tag="goodbye", tag_field="type", omit_defaults=True):
    """Announce that the sender is about to leave."""

    reason: Annotated[str, Meta(max_length=MAX_REASON)] = ""


class Reason:
    """Name why a request is refused."""

    MISSING = "missing"
    """The sender does not have the chunk, or no longer has it."""
    BUSY = "busy"
    """Too many requests of the peer are waiting."""
    NOTHING = "nothing"
    """The sender has no chunk that the peer is missing."""
    CANCELLED = "cancelled"
    """The peer has cancelled the request."""


SealedMessage: TypeAlias = (
    Hello
    | BitfieldPiece
    | Have
    | OriginFetch
    | SealedRequest
    | SealedResponse
    | BlockRequest
    | Blocks
    | Page
    | Cancel
    | Refuse
    | Peers
    | Meeting
    | Goodbye
    | Want
    | WrongChunk
    | Finished
)

decode_sealed: Callable[[memoryview | bytes], SealedMessage | None] = message_decoder(
    SealedMessage,
    (
        "hello",
        "bitfield",
        "have",
        "pulling",
        "request",
        "response",
        "read",
        "blocks",
        "page",
        "cancel",
        "refuse",
        "peers",
        "meet",
        "goodbye",
        "want",
        "wrong",
        "finished",
    ),
)
"""Decode a message of a sealed share, as `message_decoder` describes."""


def response_frame(index: int, length: int) -> bytes:
    """Return the frame that announces a chunk of `length` bytes."""
    return encode_frame(SealedResponse(index, length))


def blocks_header(read: int, hashes: bytes | None, length: int) -> bytes:
    """Return the frame of `Blocks` up to its `length` bytes of data.

    The data follows it on the wire unchanged, so the two need not be joined.
    """
    keys = _BLOCKS_START if hashes is None else _BLOCKS_START_HASHES
    parts = [keys, b"\xce", read.to_bytes(4, "big")]
    if hashes is not None:
        parts += [b"\xa6hashes\xc5", len(hashes).to_bytes(2, "big"), hashes]
    parts += [b"\xa4data\xc6", length.to_bytes(4, "big")]
    header = b"".join(parts)
    return encode_varint(len(header) + length) + header


# Data comes last, so these are not encoded by msgspec, which orders keys otherwise.
_BLOCKS_START = b"\x83\xa4type\xa6blocks\xa4read"
_BLOCKS_START_HASHES = b"\x84\xa4type\xa6blocks\xa4read"
