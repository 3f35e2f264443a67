"""Decode the messages of a sealed share, which follow the handshake; pure.

They are those of docs/protocol.md, "Sealed messages". As in all frames, messages of
other types and unknown keys are ignored. The sizes in the annotations are limits on
what a peer may send; a message beyond them is malformed.
"""

from collections.abc import Callable
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from shoal.core.manifest.pages import PAGE_SIZE, PageKey, Table
from shoal.core.wire.messages import encode_frame, message_decoder

__all__ = [
    "MAX_BITFIELD",
    "MAX_PEERS",
    "MAX_RANGES",
    "BitfieldPiece",
    "Cancel",
    "Goodbye",
    "Have",
    "Hello",
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
    "decode_sealed",
    "response_frame",
]

MAX_PEERS = 50  # addresses in one message
MAX_RANGES = 4096  # ranges in one announcement
MAX_ROOT = 8192  # bytes of a root record
MAX_BITFIELD = 65536  # bytes in one message; larger bitfields take several
MAX_LEVEL = 7  # of a manifest page
MAX_REASON = 64  # characters

Index: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 32)]
Port: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 16)]
Range: TypeAlias = tuple[Index, Index]


class Hello(Struct, frozen=True, tag="hello", tag_field="type", omit_defaults=True):
    """Open the conversation; sent again when the root record becomes known."""

    port: Port
    """TCP port that other peers may dial; 0 for none."""
    root: Annotated[bytes, Meta(max_length=MAX_ROOT)] | None = None
    """The root record; absent until the sender knows it."""
    bitfield: Annotated[bytes, Meta(max_length=MAX_BITFIELD)] | None = None
    """The chunks that the sender has; absent until it knows the root record. Empty if
    it does not fit: then its pieces follow."""


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


class Cancel(Struct, frozen=True, tag="cancel", tag_field="type", gc=False):
    """Cancel a request."""

    index: Index


class Refuse(Struct, frozen=True, tag="refuse", tag_field="type", omit_defaults=True):
    """Refuse a request."""

    index: Index | None = None
    """As requested; absent for any chunk."""
    reason: Annotated[str, Meta(max_length=MAX_REASON)] = ""
    """One of `Reason`."""


class WrongChunk(Struct, frozen=True, tag="wrong", tag_field="type", gc=False):
    """Report that a chunk from the receiver of this message did not verify."""

    index: Index


class Peers(Struct, frozen=True, tag="peers", tag_field="type"):
    """Name other peers."""

    # Any text and number: an address that cannot be dialled is ignored. It must not end
    # the connection with the peer that passed it on.
    addresses: Annotated[list[tuple[str, int]], Meta(max_length=MAX_PEERS)]
    """IP address and listening port of each."""


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


SealedMessage: TypeAlias = (
    Hello
    | BitfieldPiece
    | Have
    | OriginFetch
    | SealedRequest
    | SealedResponse
    | Page
    | Cancel
    | Refuse
    | Peers
    | Goodbye
    | Want
    | WrongChunk
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
        "page",
        "cancel",
        "refuse",
        "peers",
        "goodbye",
        "want",
        "wrong",
    ),
)
"""Decode a message of a sealed share, as `message_decoder` describes."""


def response_frame(index: int, length: int) -> bytes:
    """Return the frame that announces a chunk of `length` bytes."""
    return encode_frame(SealedResponse(index, length))
