"""The functions that read bytes from others, each as a function of any bytes.

A target returns for every input, or raises one of its `errors`; anything else is a
fault. Its `seeds` are valid inputs, from which a fuzzer starts.
"""

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from shoal.config.file import _read as read_config
from shoal.core.crypto.hashes import page_digest, root_digest
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_pages import MAX_FILES, FilesTop
from shoal.core.manifest.file_table import FileTable
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.channel_id import hash_channel, parse_channel
from shoal.core.names.link import Link, parse_link, parse_share
from shoal.core.session.open_session import OpenClientSession, OpenServerSession
from shoal.core.session.sealed_session import SealedSession
from shoal.core.session.session import Session
from shoal.core.wire.framing import FrameReader
from shoal.core.wire.messages import (
    Handshake,
    Info,
    Request,
    decode_message,
    encode_frame,
    leading_requests,
)
from shoal.core.wire.sealed_messages import (
    BlockRequest,
    Hello,
    Page,
    Peers,
    SealedRequest,
    decode_sealed,
)
from shoal.discovery.dht.krpc import build_get_peers, parse_message
from shoal.discovery.lan.packets import decode as decode_packet
from shoal.discovery.lan.packets import encode_query, encode_response
from shoal.errors import (
    ManifestError,
    PeerError,
    ProtocolError,
    SelfConnectionError,
    UsageError,
)
from shoal.gateway.range import Preconditions, parse_range, plan_response
from shoal.gateway.request import parse_target
from shoal.mapping.packets import parse_natpmp, parse_pcp
from shoal.mapping.responses import parse_response
from shoal.mapping.upnp import Url, find_services, parse_location
from shoal.net.http_date import parse_http_date
from shoal.origin.web import parse_content_range, parse_retry_after
from shoal.storage.download.journal import Header, encode_records
from shoal.storage.download.journal import decode as decode_journal
from tests.fuzz.structured import read_conversation, read_handshake, read_root_fields
from tests.helpers.sessions import pieces, receive

__all__ = ["CORPUS", "TARGETS", "Target", "corpus"]

CORPUS = Path(__file__).parent / "corpus"
"""The folder with inputs that a fuzzer has found to reach different branches."""

LIMIT = 1 << 16  # bytes of a frame
CHUNKS = Chunks(5 * (1 << 16) + 1, 1 << 16)
ID = bytes(range(32))
LINK = str(Link(ID))
BODY = b"body"
ROUTER = Url("192.168.1.1", 5000, "/d.xml")
TABLE = msgspec.msgpack.encode([("a", 1, False), ("b/c", 4, {"mode": 0o644})])


class Target(NamedTuple):
    """A function to fuzz."""

    run: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    """What it may raise."""
    seeds: Sequence[bytes]
    """Valid inputs to start from."""

    def __call__(self, data: bytes) -> None:
        """Run it once; let through only what is a fault."""
        with suppress(*self.errors):
            self.run(data)


def read_frames(data: bytes) -> None:
    """Cut bytes, which arrive in pieces, into frames; no byte is lost or invented."""
    reader = FrameReader(LIMIT)
    length = 0
    for first, last in pairwise((*range(0, len(data), 7), len(data))):
        piece = data[first:last]
        while piece:
            buffer = reader.get_buffer()
            size = min(len(buffer), len(piece))
            buffer[:size] = piece[:size]
            reader.buffer_updated(size)
            length += sum(len(frame) for frame in reader.frames())
            piece = piece[size:]
    assert length <= len(data)


def read_messages(data: bytes) -> None:
    """Decode the message of an open channel, and the usual requests in front."""
    indexes, done = leading_requests(memoryview(data))
    assert len(indexes) <= done <= len(data)
    decode_message(data)


def read_router(data: bytes) -> None:
    """Read bytes as every answer that a router may send."""
    reads: list[Callable[[bytes], object]] = [
        parse_pcp,
        parse_natpmp,
        lambda data: parse_location(data, ROUTER.host),
        lambda data: parse_response(data, is_ended=False),
    ]
    for read in reads:
        with suppress(ProtocolError):
            read(data)
    with suppress(ProtocolError):
        answer = parse_response(data, is_ended=True)
        assert answer is not None
        assert len(answer.body) <= len(data)


def _sealed_session() -> SealedSession:
    session = SealedSession()
    session.know_share(CHUNKS, lambda key: key.level == 0)
    session.request(0)
    session.request(5)
    session.request_any()
    return session


def _converse(make: Callable[[], Session]) -> Callable[[bytes], object]:
    def run(data: bytes) -> None:
        receive(make(), data, pieces(len(data), 4096))

    return run


def read_root(data: bytes) -> None:
    """Decode a root record whose hash is the id, as the maker of a link may have it."""
    root = Manifest(root_digest(data), data).root
    assert min(root.chunks.count, root.file_count) >= 0


def read_leaf(data: bytes) -> None:
    """Decode the only page of a file table, of a number of files and size in front."""
    if len(data) < 3:
        return
    count, size, page = data[0], data[1] | data[2] << 8, data[3:]
    table = FileTable(FilesTop(count, 0, page_digest(page)), size)
    if table.add_page(0, 0, page):
        assert sum(file.size for file in table.files) == size


def read_index(data: bytes) -> None:
    """Decode the top page of a tree of file pages, and what is missing below it."""
    if len(data) < 5:
        return
    head, page = struct.unpack_from(">IB", data), data[5:]
    top = FilesTop(1 + head[0] % MAX_FILES, 1, page_digest(page))
    table = FileTable(top, head[1] << 20)
    if table.add_page(1, 0, page):
        list(table.missing("a", "b"))
        list(table.missing_numbers(0, 1))


def read_link(data: bytes) -> None:
    """Read a text as a link or a channel, in every way that there is."""
    text = data.decode(errors="surrogateescape")
    with suppress(UsageError):
        assert isinstance(parse_link(text), Link)
    with suppress(UsageError):
        channel = parse_channel(text)
        assert parse_share(channel.id) == channel
    share = parse_share(text)
    if isinstance(share, Link):
        assert parse_link(str(share)) == share


def read_range(data: bytes) -> None:
    """Plan the response to the headers of a request, one a line."""
    lines = data.decode("latin-1").split("\n")
    lines += [""] * (5 - len(lines))
    size = len(data) * 3
    parse_range(lines[0], size)
    parse_content_range(lines[0])
    conditions = Preconditions(
        if_match=lines[1:2],
        if_none_match=lines[2:3],
        if_range=lines[3:4],
        range=lines[:1],
    )
    plan = plan_response("GET", conditions, size, '"tag"', 0)
    assert 0 <= plan.range.first <= plan.range.end <= size


def read_date(data: bytes) -> None:
    """Read a header of an origin, or of a request to the gateway, as a date."""
    text = data.decode(errors="surrogateescape")
    parse_http_date(text)
    pause = parse_retry_after(text)
    assert pause is None or pause >= 0


def read_target(data: bytes) -> None:
    """Parse the target of a request to the gateway; no name in it leads elsewhere."""
    target = parse_target(data.decode("latin-1"))
    assert not {".", ".."} & set(target.names)
    assert not any("/" in name or "\\" in name for name in target.names)


def read_journal(data: bytes) -> None:
    """Decode a journal; no chunk in it is out of range."""
    contents = decode_journal(data)
    if contents is not None:
        header = contents.header
        count = -(-header.size // header.chunk_size) if header.chunk_size else 0
        assert all(index < count for index in contents.trusted(header.boot_id))


def read_config_file(data: bytes) -> None:
    """Read a config.toml."""
    list(read_config("config.toml", data))


def _root_fields() -> dict[str, object]:
    top = [2, 0, page_digest(TABLE)]
    root = {"chunk": 1 << 16, "files": top, "hashes": bytes(32), "name": "n"}
    return {**root, "size": 5, "v": 2}


def _journal() -> bytes:
    header = Header(ID, 10 << 16, 1 << 16, bytes(16), bytes(8))
    return header.encode() + encode_records([1, 2, 3], 0, header.seed)


ROOT = _root_fields()
HELLO = Hello(port=1, bitfield=b"\xc0")
INDEX = msgspec.msgpack.encode([("a", 0, 0, bytes(32)), ("b", 9, 4, bytes(32))])
HASH_CHANNEL = hash_channel([bytes(32)])
SEALED = [
    HELLO,
    SealedRequest(1),
    Page("hashes", 0, 0),
    Peers([]),
    BlockRequest(1, 0, 0, 1),
]

TARGETS = {
    "frames": Target(
        read_frames, (ProtocolError,), [b"\x04body" * 9, b"\x81\x01" + b"b" * 129]
    ),
    "messages": Target(
        read_messages,
        (ProtocolError,),
        [encode_frame(Request(7))[1:], encode_frame(Info())[1:]],
    ),
    "sealed_messages": Target(
        decode_sealed, (ProtocolError,), [encode_frame(each)[1:] for each in SEALED]
    ),
    "sealed_session": Target(
        _converse(_sealed_session),
        (ProtocolError,),
        [b"".join(map(encode_frame, SEALED[:4]))],
    ),
    "open_client": Target(
        _converse(lambda: OpenClientSession(HASH_CHANNEL)),
        (PeerError,),
        [encode_frame(Handshake([bytes(32).hex()]))],
    ),
    "open_server": Target(
        _converse(lambda: OpenServerSession(CHUNKS, None)),
        (ProtocolError,),
        [encode_frame(Request(7)) * 2],
    ),
    "sealed_conversation": Target(
        lambda data: read_conversation(_sealed_session(), data),
        (ProtocolError,),
        [b"\x00\x01\x7f\x7f\x7f\x05\x03\x0d", bytes(range(256))],
    ),
    "knock": Target(
        read_handshake,
        (ProtocolError, SelfConnectionError),
        [b"\x02\x02" + bytes(16) + b"\x02\x02\x02" + bytes([3]) * 16, bytes(67)],
    ),
    "root": Target(
        read_root, (ProtocolError, ManifestError), [msgspec.msgpack.encode(ROOT)]
    ),
    "root_fields": Target(
        lambda data: read_root_fields(ROOT, data),
        (ProtocolError, ManifestError),
        [b"", b"\x03\x81ab\x04\x05"],
    ),
    "leaf": Target(read_leaf, (ManifestError,), [b"\x02\x05\x00" + TABLE]),
    "index": Target(read_index, (ManifestError,), [b"\x00\x00\x00\x10\x01" + INDEX]),
    "link": Target(
        read_link,
        (UsageError,),
        [LINK.encode(), f"<{LINK}?peer=h:1&origin=https%3A%2F%2Fh%2F>".encode()],
    ),
    "krpc": Target(
        parse_message,
        (ProtocolError,),
        [
            b"d1:rd2:id20:" + b"i" * 20 + b"5:nodes0:6:valuesl6:abcdefee1:t2:ab1:y1:re",
            build_get_peers(b"ab", bytes(20), bytes(20)),
        ],
    ),
    "packets": Target(
        decode_packet,
        (ProtocolError,),
        [encode_query(bytes(20)), encode_response(bytes(20), bytes(4), [])],
    ),
    "router": Target(
        read_router,
        (),
        [
            bytes((2, 0x81, 0, 0)) + bytes(56),
            bytes((0, 130)) + bytes(14),
            b"HTTP/1.1 200 OK\r\nLocation: http://192.168.1.1:5000/d.xml\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n<r>\r\n0\r\n",
        ],
    ),
    "description": Target(
        lambda data: find_services(data, ROUTER),
        (ProtocolError,),
        [
            b"<root><service><serviceType>urn:schemas-upnp-org:service:"
            b"WANIPConnection:1</serviceType><controlURL>/c</controlURL>"
            b"</service><URLBase>http://192.168.1.1/</URLBase></root>",
            b"<!DOCTYPE r [<!ENTITY a 'a'>]><r>&a;</r>",
        ],
    ),
    "range": Target(
        read_range, (), [b'bytes=0-9\n"tag"\nW/"a", *\n"tag"', b"bytes=-5"]
    ),
    "date": Target(
        read_date, (), [b"Mon, 01 Jan 2024 10:20:30 GMT", b"120", b"1 Jan 24 1:2 +0100"]
    ),
    "target": Target(
        read_target, (ValueError,), [b"/token/a%20b/c", b"http://h:1/t/?q#"]
    ),
    "journal": Target(read_journal, (), [_journal()]),
    "config": Target(
        read_config_file,
        (UsageError,),
        [b'port = 4001\npeer = ["h:1"]\nseed = true', b"a=" + b"[" * 2000],
    ),
}
"""Every target by name."""


def corpus(name: str) -> list[bytes]:
    """Return the inputs of a target that are kept in the repository."""
    path = CORPUS / f"{name}.hex"
    found = path.read_text().split() if path.exists() else []
    return [*TARGETS[name].seeds, *map(bytes.fromhex, found)]
