"""A model of the messages of a sealed share, written from docs/protocol.md.

It is independent of the code, so that it does not repeat its mistakes.
"""

from collections import Counter
from typing import Any, TypeAlias

from hypothesis import strategies as st

from shoal.core.manifest.blocks import Run
from shoal.core.session.events import BlocksReceived, ChunkReceived, Event
from shoal.core.wire.sealed_messages import (
    BlockRequest,
    Cancel,
    Finished,
    Goodbye,
    Have,
    Hello,
    Page,
    Peers,
    Refuse,
    SealedRequest,
    Want,
    WrongChunk,
)
from tests.core.wire.test_sealed_messages import TOO_FAR
from tests.helpers.wire import pack, varint

__all__ = [
    "ALLOWED",
    "BLOCK",
    "NOT_OURS",
    "NO_FRAMES",
    "PORT",
    "SHORT",
    "STRANGE",
    "Ended",
    "Model",
    "Said",
]

BLOCK = 16_384  # bytes of the only block of each chunk
UNKNOWN = 1 << 32  # number of chunks or pages before the root record is known

Said: TypeAlias = dict[str, Any]

INDEX = st.integers(0, 8) | st.sampled_from([100, UNKNOWN - 1])
SHORT = st.binary(max_size=20)
FEW = st.lists(st.tuples(INDEX, INDEX), max_size=3)
PORT = st.sampled_from([0, 1, 65_535])
ADDRESS = st.tuples(st.sampled_from(["127.0.0.1", "::1", "?"]), PORT)


def message(kind: str, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Said]:
    """Draw a message with these keys; those named `maybe_…` are optional."""
    needed = {k: v for k, v in values.items() if not k.startswith("maybe_")}
    others = {k[6:]: v for k, v in values.items() if k.startswith("maybe_")}
    return st.fixed_dictionaries(
        {"type": st.just(kind), **needed},
        optional={**others, "unheard-of": st.integers(-9, 9)},
    )


ALLOWED: list[st.SearchStrategy[Said]] = [
    message("hello", port=PORT, maybe_root=SHORT, maybe_bitfield=SHORT),
    message("have", ranges=FEW),
    message("request", maybe_index=INDEX),
    message("response", index=INDEX, data=SHORT),
    message(
        "page", table=st.just("hashes"), level=st.just(0), index=INDEX, maybe_data=SHORT
    ),
    message("cancel", index=INDEX, maybe_read=INDEX),
    message(
        "refuse", maybe_index=INDEX, maybe_reason=st.text(max_size=5), maybe_read=INDEX
    ),
    message(
        "read",
        read=INDEX,
        index=INDEX,
        first=st.sampled_from([0, 0, 0, 1, 255]),
        count=st.sampled_from([1, 1, 1, 2, 256]),
        maybe_hashes=st.booleans(),
    ),
    message("blocks", read=INDEX, data=SHORT, maybe_hashes=SHORT),
    message("peers", addresses=st.lists(ADDRESS, max_size=50)),
    message("goodbye", maybe_reason=st.text(max_size=5)),
    message("want", ranges=FEW),
    message("wrong", index=INDEX),
    message("finished"),
]
NOT_OURS = st.sampled_from(["handshake", "info", "HELLO", "", "hello "])
STRANGE = [
    *map(pack, TOO_FAR),
    pack({"type": 7}),
    *(b"\x80", b"\x90", b"\xc0", b"\xc1", b"\x90" * 2000, b"\xdf\xff\xff\xff\xff"),
    pack({"type": "goodbye"}) + b"\0",
    b"\x81\xa4type\xa7goodby\xff",
]
"""Bodies that are not messages."""
NO_FRAMES = [b"\x00", b"\x81\x00", b"\x80\x80\x80\x80", varint((1 << 28) - 1)]
"""Lengths that are invalid in a frame."""


class Ended(Exception):
    """The model ends the conversation."""


class Model:
    """One conversation after the proofs, according to docs/protocol.md."""

    def __init__(self) -> None:
        self.is_greeted = self.has_left = False
        self.owed: Counter[int] = Counter()
        self.owed_any = 0
        self.owed_pages: set[int] = set()
        self.reads: dict[int, tuple[int, bool]] = {}  # the chunk, and with its hash?
        self.chunks = self.pages = UNKNOWN
        self.astray = 0
        self.answers: list[Said] = []
        self.coming: tuple[int, bool] = (0, False)  # the chunk whose data follows

    def hear(self, said: Said) -> Event | None:
        """Return the event for a message, or raise `Ended`."""
        if self.has_left:
            return None
        kind = said["type"]
        if not self.is_greeted and kind != "hello":
            raise Ended
        self.is_greeted = True
        self.has_left = kind == "goodbye"
        index, data = said.get("index"), said.get("data")
        match kind:
            case "hello":
                return Hello(said["port"], said.get("root"), said.get("bitfield"))
            case "have":
                return Have([tuple(each) for each in said["ranges"]])
            case "request":
                return self._on_request(index)
            case "response":
                return self._on_response(said["index"], said["data"])
            case "data":
                return ChunkReceived(self.coming[0], said["data"], None, self.coming[1])
            case "page":
                return self._on_page(said["index"], data)
            case "cancel":
                return Cancel(said["index"], said.get("read"))
            case "refuse":
                self._on_refusal(index, said.get("read"))
                return Refuse(index, said.get("reason", ""), said.get("read"))
            case "read":
                return self._on_read(said)
            case "blocks":
                return self._on_blocks(said)
            case "want":
                return Want([tuple(each) for each in said["ranges"]])
            case "wrong":
                return self._on_wrong(said["index"])
            case "finished":
                return Finished()
            case "peers":
                return Peers([tuple(each) for each in said["addresses"]])
        return Goodbye(said.get("reason", ""))

    def _on_request(self, index: int | None) -> Event | None:
        if index is None or index < self.chunks:
            return SealedRequest(index)
        self._stray()
        self.answers.append({"type": "refuse", "index": index, "reason": "missing"})
        return None

    def _on_wrong(self, index: int) -> Event | None:
        if index < self.chunks:
            return WrongChunk(index)
        self._stray()
        return None

    def _on_response(self, index: int, data: bytes) -> Event | None:
        """Note whether the chunk was requested; its data may arrive later."""
        was_any = not self.owed[index]
        if not was_any:
            self.owed[index] -= 1
        elif self.owed_any:
            self.owed_any -= 1
        else:
            raise Ended
        if index >= self.chunks:
            raise Ended
        self.coming = (index, was_any)
        return None if data else ChunkReceived(index, b"", None, was_any)

    def _on_page(self, number: int, data: bytes | None) -> Event | None:
        if data is None and number >= self.pages:
            self._stray()
            return None
        if data is not None:
            if number not in self.owed_pages:
                raise Ended
            self.owed_pages.remove(number)
        return Page("hashes", 0, number, data)

    def _on_read(self, said: Said) -> Event | None:
        end = said["first"] + said["count"]
        # All chunks of this share have one block.
        if self.chunks == UNKNOWN or (said["index"] < self.chunks and end == 1):
            first, count = said["first"], said["count"]
            has_hashes = said.get("hashes", False)
            return BlockRequest(said["read"], said["index"], first, count, has_hashes)
        self._stray()
        names = {"index": said["index"], "reason": "missing", "read": said["read"]}
        self.answers.append({"type": "refuse", **names})
        return None

    def _on_blocks(self, said: Said) -> Event:
        if said["read"] not in self.reads:
            raise Ended
        index, has_hashes = self.reads.pop(said["read"])
        hashes = said.get("hashes")
        if len(said["data"]) != BLOCK or (None if hashes is None else len(hashes)) != (
            32 if has_hashes else None
        ):
            raise Ended
        return BlocksReceived(said["read"], Run(index, 0, 1), hashes, said["data"])

    def _on_refusal(self, index: int | None, read: int | None) -> None:
        if read is not None:
            if read not in self.reads:
                raise Ended
            del self.reads[read]
        elif index is None:
            self.owed_any = max(0, self.owed_any - 1)
        else:
            self.owed[index] = max(0, self.owed[index] - 1)

    def _stray(self) -> None:
        self.astray += 1
        if self.astray == 3:
            raise Ended
