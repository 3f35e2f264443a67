"""The messages of a sealed share, spoken once both sides have proved the id.

They are the workshop's request and response and what a swarm needs beside them. As
everywhere, messages of other types and unknown keys are ignored.
"""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from shoal.core.wire.messages import MessageDecoder

__all__ = [
    "MAX_ORIGIN_FETCHES",
    "MAX_PEERS",
    "PAGE_SIZE",
    "Ask",
    "Cancel",
    "Give",
    "Goodbye",
    "Have",
    "Hello",
    "Page",
    "Peers",
    "Pull",
    "Reason",
    "Refuse",
    "SealedMessage",
    "decode_sealed",
]

PAGE_SIZE = 65536  # bytes of a whole manifest page
MAX_PEERS = 50  # addresses in one message
MAX_ORIGIN_FETCHES = 1024  # chunks that one peer may be fetching from an origin
MAX_RANGES = 4096  # ranges in one announcement
MAX_ROOT = 8192  # bytes of a root record
MAX_BITFIELD = 98304  # bytes, for more chunks than a root record can name

Index: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 32)]
Port: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 16)]
Range: TypeAlias = tuple[Index, Index]


class Hello(Struct, frozen=True, tag="hello", tag_field="type", omit_defaults=True):
    """Say who and where one is; said again once the root record is known."""

    port: Port
    """TCP port that others may dial; 0 for none."""
    root: Annotated[bytes, Meta(max_length=MAX_ROOT)] | None = None
    """The root record; absent while it is not known."""
    bitfield: Annotated[bytes, Meta(max_length=MAX_BITFIELD)] | None = None
    """Which chunks are there; absent while the root record is not known."""


class Have(Struct, frozen=True, tag="have", tag_field="type"):
    """Announce chunks that are there since."""

    ranges: Annotated[list[Range], Meta(max_length=MAX_RANGES)]
    """First index and number of each run."""


class Pull(Struct, frozen=True, tag="pulling", tag_field="type"):
    """Say which chunks are asked of an origin, so that others need not."""

    ranges: Annotated[list[Range], Meta(max_length=MAX_RANGES)]
    """First index and number of each run."""


class Ask(
    Struct, frozen=True, tag="request", tag_field="type", omit_defaults=True, gc=False
):
    """Ask for a chunk."""

    index: Index | None = None
    """Which; absent for any that the asker has not announced."""


class Give(Struct, frozen=True, tag="response", tag_field="type"):
    """Give a chunk."""

    index: Index
    data: memoryview
    """The chunk; a view of the frame it came in."""


class Page(Struct, frozen=True, tag="page", tag_field="type", omit_defaults=True):
    """Ask for a manifest page or, with its data, give it."""

    index: Index
    """Pages of the chunk hash table come first, those of the file table behind."""
    data: Annotated[bytes, Meta(max_length=PAGE_SIZE)] | None = None


class Cancel(Struct, frozen=True, tag="cancel", tag_field="type", gc=False):
    """Take back a request."""

    index: Index


class Refuse(Struct, frozen=True, tag="refuse", tag_field="type", omit_defaults=True):
    """Say that a request will not be answered."""

    index: Index | None = None
    """Of the request; absent for any chunk."""
    reason: Annotated[str, Meta(max_length=64)] = ""


class Peers(Struct, frozen=True, tag="peers", tag_field="type"):
    """Pass on addresses of other peers."""

    addresses: Annotated[
        list[tuple[Annotated[str, Meta(max_length=45)], Port]],
        Meta(max_length=MAX_PEERS),
    ]
    """IP address and listening port of each."""


class Goodbye(Struct, frozen=True, tag="goodbye", tag_field="type", omit_defaults=True):
    """Announce that one is about to leave."""

    reason: Annotated[str, Meta(max_length=64)] = ""


class Reason:
    """Name why a request is refused."""

    MISSING = "missing"
    """The chunk is not here, or not any more."""
    BUSY = "busy"
    """Too many requests are waiting already."""
    NOTHING = "nothing"
    """There is no chunk here that the asker lacks."""


SealedMessage: TypeAlias = (
    Hello | Have | Pull | Ask | Give | Page | Cancel | Refuse | Peers | Goodbye
)

_decoder: MessageDecoder[SealedMessage] = MessageDecoder(
    SealedMessage,
    (
        "hello",
        "have",
        "pulling",
        "request",
        "response",
        "page",
        "cancel",
        "refuse",
        "peers",
        "goodbye",
    ),
)


def decode_sealed(frame: memoryview | bytes) -> SealedMessage | None:
    """Read a message of a sealed share; None when its type is not known.

    Raises `ProtocolError` for everything else.
    """
    return _decoder.decode(frame)
