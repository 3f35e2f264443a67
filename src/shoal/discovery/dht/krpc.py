"""The messages of the DHT (KRPC, BEP 5 and 32) and bencode (BEP 3); pure.

This node sends three queries and reads their responses. Every query has `ro` set
(BEP 43), because this node answers none. Strangers send everything that is decoded
here, so each limit on stored data is enforced here, before a lookup sees the message;
the decoder keeps its own stack instead of recursing, and refuses any encoding that is
not canonical, except unsorted keys, because some real nodes do not sort them.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from shoal.core.names.address import Address
from shoal.errors import ProtocolError

__all__ = [
    "ID_SIZE",
    "MAX_DEPTH",
    "TRANSACTION_SIZE",
    "BencodeInput",
    "BencodeValue",
    "DhtNode",
    "KrpcError",
    "KrpcMessage",
    "KrpcResponse",
    "bdecode",
    "bencode",
    "build_announce_peer",
    "build_find_node",
    "build_get_peers",
    "parse_message",
]

ID_SIZE = 20  # bytes of a node's id, and of a topic
TRANSACTION_SIZE = 4  # bytes; two are usual, four are harder to guess
MAX_DATAGRAM = 65_507  # bytes, all that UDP carries; some nodes send their whole table
MAX_TRANSACTION = 32  # bytes of another node's transaction id
MAX_TOKEN = 128  # bytes; real ones have 4 to 20
MAX_VALUES = 100  # peers read from one response
MAX_NODES = 1000  # nodes read from one response; BEP 5 sends 8, bittorrent-dht 360
MAX_DEPTH = 16  # nested containers; a DHT message needs three

_PEER_SIZE = 6  # bytes: IPv4 address, port ("compact peer info", BEP 5)
_PEER_SIZE_V6 = 18  # bytes: IPv6 address, port (BEP 32)
_SWAPS_PORTS = b"lt\r\x80"  # rtorrent 0.9.8: ports of peers, low byte first

_BOTH_FAMILIES = [b"n4", b"n6"]

BencodeValue: TypeAlias = (
    int | bytes | list["BencodeValue"] | dict[bytes, "BencodeValue"]
)
"""A decoded value."""
BencodeInput: TypeAlias = (
    int | bytes | Sequence["BencodeInput"] | Mapping[bytes, "BencodeInput"]
)
"""A value that can be encoded."""

# The digit counts keep int() from parsing a number long enough to be an attack.
_INTEGER = re.compile(rb"i(0|-?[1-9][0-9]{0,19})e")
_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,7}):")


class DhtNode(NamedTuple):
    """Identify one node of the DHT."""

    id: bytes
    """The 20 bytes that the node claims as its id."""
    address: Address
    """The node's UDP address."""


@dataclass(frozen=True, slots=True)
class KrpcResponse:
    """Hold one node's response to a query."""

    tid: bytes
    """The transaction id that the response claims to answer."""
    node_id: bytes
    """The id of the responding node."""
    token: bytes | None = None
    """The token that the node requires in an announcement."""
    nodes: tuple[DhtNode, ...] = ()
    """Nodes nearer to the topic that the responding node knows."""
    nodes6: tuple[DhtNode, ...] = ()
    """The same, with IPv6 addresses."""
    peers: tuple[Address, ...] = ()
    """Peers of the topic; nothing about them has been checked."""
    seen: Address | None = None
    """The address that our query came from, as the responding node saw it (BEP 42)."""


@dataclass(frozen=True, slots=True)
class KrpcError:
    """Hold one node's error message."""

    tid: bytes
    """The transaction id that the error claims to answer."""


KrpcMessage: TypeAlias = KrpcResponse | KrpcError
"""Every message that a read-only node acts on; it answers no query (BEP 43)."""


def build_get_peers(
    tid: bytes, node_id: bytes, topic: bytes, *, wants_both: bool = False
) -> bytes:
    """Return the datagram that requests a topic's peers (BEP 5, get_peers).

    If it `wants_both`, nodes of both families are requested (BEP 32, want).
    """
    asked: dict[bytes, BencodeInput] = {b"id": node_id, b"info_hash": topic}
    return _build_query(b"get_peers", tid, asked | _want(wants_both))


def build_find_node(
    tid: bytes, node_id: bytes, target: bytes, *, wants_both: bool = False
) -> bytes:
    """Return the datagram that requests the nodes nearest to an id (BEP 5).

    If it `wants_both`, nodes of both families are requested (BEP 32, want).
    """
    asked: dict[bytes, BencodeInput] = {b"id": node_id, b"target": target}
    return _build_query(b"find_node", tid, asked | _want(wants_both))


def _want(both: bool) -> dict[bytes, BencodeInput]:
    return {b"want": _BOTH_FAMILIES} if both else {}


def build_announce_peer(
    tid: bytes, node_id: bytes, topic: bytes, *, port: int, token: bytes
) -> bytes:
    """Return the datagram that announces a TCP port (BEP 5, announce_peer).

    `token` is from the same node's response to `get_peers` for the same topic.
    """
    arguments: dict[bytes, BencodeInput] = {
        b"id": node_id,
        b"implied_port": 0,
        b"info_hash": topic,
        b"port": port,
        b"token": token,
    }
    return _build_query(b"announce_peer", tid, arguments)


def parse_message(data: bytes) -> KrpcMessage:
    """Parse a response or an error.

    Raises `ProtocolError` for everything that BEP 5 does not allow, and for a query.
    """
    if len(data) > MAX_DATAGRAM:
        raise ProtocolError(f"a DHT message of {len(data)} bytes")
    message = bdecode(data)
    if not isinstance(message, dict):
        raise ProtocolError("a DHT message that is not a dictionary")
    tid = message.get(b"t")
    if not isinstance(tid, bytes) or len(tid) > MAX_TRANSACTION:
        raise ProtocolError("a DHT message without a usable transaction id")
    match message.get(b"y"):
        case b"r":
            is_swapped = message.get(b"v") == _SWAPS_PORTS
            seen = _parse_seen(message.get(b"ip"))
            return _parse_response(tid, message.get(b"r"), seen, is_swapped=is_swapped)
        case b"e":
            return KrpcError(tid)
        case _:
            raise ProtocolError("a DHT message that is neither a response nor an error")


def _build_query(
    name: bytes, tid: bytes, arguments: dict[bytes, BencodeInput]
) -> bytes:
    return bencode({b"a": arguments, b"q": name, b"ro": 1, b"t": tid, b"y": b"q"})


def _parse_seen(value: BencodeValue | None) -> Address | None:
    if not isinstance(value, bytes) or len(value) != _PEER_SIZE:
        return None  # another address family, or a mistake that concerns nothing else
    return _parse_peer(value)


def _parse_response(
    tid: bytes, body: BencodeValue | None, seen: Address | None, *, is_swapped: bool
) -> KrpcResponse:
    if not isinstance(body, dict):
        raise ProtocolError("a DHT response without a body")
    node_id = body.get(b"id")
    if not isinstance(node_id, bytes) or len(node_id) != ID_SIZE:
        raise ProtocolError("a DHT response without its node's id")
    token = body.get(b"token")
    if not isinstance(token, bytes) or len(token) > MAX_TOKEN:
        token = None
    nodes = _parse_nodes(body.get(b"nodes", b""), _PEER_SIZE)
    nodes6 = _parse_nodes(body.get(b"nodes6", b""), _PEER_SIZE_V6)
    peers = _parse_values(body.get(b"values", []), is_swapped=is_swapped)
    return KrpcResponse(tid, node_id, token, nodes, nodes6, peers, seen)


def _parse_nodes(data: BencodeValue, peer_size: int) -> tuple[DhtNode, ...]:
    """Parse compact node info (BEP 5 and 32): an id and an address for each node."""
    size = ID_SIZE + peer_size
    if not isinstance(data, bytes) or len(data) % size:
        raise ProtocolError(f"a DHT response whose nodes are not {size} bytes each")
    starts = range(0, min(len(data), MAX_NODES * size), size)
    return tuple(
        DhtNode(data[at : at + ID_SIZE], _parse_peer(data[at + ID_SIZE : at + size]))
        for at in starts
    )


def _parse_values(values: BencodeValue, *, is_swapped: bool) -> tuple[Address, ...]:
    if not isinstance(values, list):
        raise ProtocolError("a DHT response whose values are not a list")
    # Other lengths are address families that we do not know, not errors.
    return tuple(
        _parse_peer(value, is_swapped=is_swapped)
        for value in values[:MAX_VALUES]
        if isinstance(value, bytes) and len(value) in (_PEER_SIZE, _PEER_SIZE_V6)
    )


def _parse_peer(data: bytes, *, is_swapped: bool = False) -> Address:
    host = str(ipaddress.ip_address(data[:-2]))
    port = int.from_bytes(data[-2:], "little" if is_swapped else "big")
    return Address(host, port)


def bencode(value: BencodeInput) -> bytes:
    """Return the canonical encoding of a value (BEP 3)."""
    parts: list[bytes] = []
    _encode_into(parts, value)
    return b"".join(parts)


def bdecode(data: bytes, *, max_depth: int = MAX_DEPTH) -> BencodeValue:
    """Return the one value that `data` encodes (BEP 3).

    Raises `ProtocolError` if `data` is anything else.
    """
    stack: list[tuple[bytes, list[BencodeValue]]] = []  # type and items
    position = 0
    while True:
        first = data[position : position + 1]
        value: BencodeValue
        if first in (b"d", b"l"):
            if len(stack) == max_depth:
                raise ProtocolError(f"bencode is nested deeper than {max_depth}")
            stack.append((first, []))
            position += 1
            continue
        if first == b"e" and stack:
            kind, items = stack.pop()
            value = _make_dict(items) if kind == b"d" else items
            position += 1
        else:
            value, position = _decode_scalar(data, position)
        if stack:
            stack[-1][1].append(value)
        elif position == len(data):
            return value
        else:
            raise ProtocolError("bytes after the end of a bencoded value")


def _make_dict(items: list[BencodeValue]) -> dict[bytes, BencodeValue]:
    """Return the dictionary with these keys and values, one after the other."""
    if len(items) % 2:
        raise ProtocolError("a bencoded dictionary ends in a key without a value")
    result: dict[bytes, BencodeValue] = {}
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, bytes):
            raise ProtocolError("a key in a bencoded dictionary is not a string")
        if key in result:
            raise ProtocolError("a bencoded dictionary has the same key twice")
        result[key] = value
    return result


def _decode_scalar(data: bytes, position: int) -> tuple[int | bytes, int]:
    """Return the integer or string at `position` and the position after it."""
    if found := _INTEGER.match(data, position):
        return int(found[1]), found.end()
    if found := _LENGTH.match(data, position):
        end = found.end() + int(found[1])
        if end <= len(data):
            return data[found.end() : end], end
    raise ProtocolError(f"no bencoded value at byte {position}")


def _encode_into(parts: list[bytes], value: BencodeInput) -> None:
    if isinstance(value, bytes):
        parts.append(b"%d:%b" % (len(value), value))
    elif isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, Mapping):
        parts.append(b"d")
        for key in sorted(value):
            _encode_into(parts, key)
            _encode_into(parts, value[key])
        parts.append(b"e")
    else:
        parts.append(b"l")
        for item in value:
            _encode_into(parts, item)
        parts.append(b"e")
