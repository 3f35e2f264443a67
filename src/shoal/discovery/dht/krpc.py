"""The messages of the DHT (BEP 5): two questions out, their answers in; pure.

Every query says `ro` (BEP 43), because this node answers none. Each limit on what
a stranger may make us keep is enforced here, before a lookup sees the message.
"""

import ipaddress
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from shoal.core.names.address import Address
from shoal.discovery.dht.bencode import Encodable, Value, decode, encode
from shoal.errors import ProtocolError

__all__ = [
    "ID_SIZE",
    "TRANSACTION_SIZE",
    "Failure",
    "Message",
    "Node",
    "Query",
    "Reply",
    "build_announce_peer",
    "build_get_peers",
    "parse_message",
]

ID_SIZE = 20  # bytes, of a node's id as of a topic
TRANSACTION_SIZE = 4  # bytes; two are usual, four are harder to guess
MAX_DATAGRAM = 8192  # bytes; an honest answer keeps to one packet, about 1,500
MAX_TRANSACTION = 32  # bytes of somebody else's transaction id
MAX_TOKEN = 128  # bytes; real ones have 4 to 20
MAX_VALUES = 100  # peers looked at in one reply
MAX_NODES = 32  # nodes looked at in one reply; BEP 5 sends 8, some send 20

_PEER_SIZE = 6  # bytes: IPv4 address, port
_NODE_SIZE = ID_SIZE + _PEER_SIZE


class Node(NamedTuple):
    """Name one node of the DHT."""

    id: bytes
    """The 20 bytes that it claims as its id."""
    address: Address
    """Where it answers, by UDP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold one node's answer to `get_peers` or `announce_peer`."""

    tid: bytes
    """The transaction that it claims to answer."""
    node_id: bytes
    """The id of the node that answers."""
    token: bytes | None = None
    """What the node wants to be shown by who announces to it."""
    nodes: tuple[Node, ...] = ()
    """Nodes nearer to the topic, as far as the answering one knows."""
    peers: tuple[Address, ...] = ()
    """Peers of the topic; nothing about them has been checked."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Hold one node's refusal."""

    tid: bytes
    """The transaction that it claims to answer."""
    code: int
    """201 generic, 202 server, 203 protocol, 204 unknown method; 0 if it said none."""


@dataclass(frozen=True, slots=True)
class Query:
    """Stand for a question, which a read-only node does not answer (BEP 43)."""

    tid: bytes
    """The transaction that the asker chose."""


Message: TypeAlias = Reply | Failure | Query
"""Everything that can arrive in a datagram."""


def build_get_peers(tid: bytes, node_id: bytes, topic: bytes) -> bytes:
    """Return the datagram that asks for a topic's peers (BEP 5)."""
    return _build_query(b"get_peers", tid, {b"id": node_id, b"info_hash": topic})


def build_announce_peer(
    tid: bytes, node_id: bytes, topic: bytes, *, port: int, token: bytes
) -> bytes:
    """Return the datagram that announces a TCP port under a topic (BEP 5).

    `token` is the one that the same node gave for the same topic.
    """
    arguments: dict[bytes, Encodable] = {
        b"id": node_id,
        b"implied_port": 0,
        b"info_hash": topic,
        b"port": port,
        b"token": token,
    }
    return _build_query(b"announce_peer", tid, arguments)


def parse_message(data: bytes) -> Message:
    """Read one datagram.

    Raises `ProtocolError` for whatever BEP 5 does not allow.
    """
    if len(data) > MAX_DATAGRAM:
        raise ProtocolError(f"a DHT message of {len(data)} bytes")
    message = decode(data)
    if not isinstance(message, dict):
        raise ProtocolError("a DHT message that is no dictionary")
    tid = message.get(b"t")
    if not isinstance(tid, bytes) or len(tid) > MAX_TRANSACTION:
        raise ProtocolError("a DHT message without a usable transaction id")
    match message.get(b"y"):
        case b"r":
            return _parse_reply(tid, message.get(b"r"))
        case b"e":
            return _parse_failure(tid, message.get(b"e"))
        case b"q":
            return Query(tid)
        case _:
            raise ProtocolError("a DHT message that is no query, reply or error")


def _build_query(name: bytes, tid: bytes, arguments: dict[bytes, Encodable]) -> bytes:
    return encode({b"a": arguments, b"q": name, b"ro": 1, b"t": tid, b"y": b"q"})


def _parse_reply(tid: bytes, body: Value | None) -> Reply:
    if not isinstance(body, dict):
        raise ProtocolError("a DHT reply without a body")
    node_id = body.get(b"id")
    if not isinstance(node_id, bytes) or len(node_id) != ID_SIZE:
        raise ProtocolError("a DHT reply without its node's id")
    token = body.get(b"token")
    if not isinstance(token, bytes) or len(token) > MAX_TOKEN:
        token = None
    nodes = _parse_nodes(body.get(b"nodes", b""))
    peers = _parse_values(body.get(b"values", []))
    return Reply(tid, node_id, token, nodes, peers)


def _parse_failure(tid: bytes, body: Value | None) -> Failure:
    code = body[0] if isinstance(body, list) and body else 0
    return Failure(tid, code if isinstance(code, int) else 0)


def _parse_nodes(data: Value) -> tuple[Node, ...]:
    if not isinstance(data, bytes) or len(data) % _NODE_SIZE:
        raise ProtocolError("a DHT reply whose nodes are not 26 bytes each")
    starts = range(0, min(len(data), MAX_NODES * _NODE_SIZE), _NODE_SIZE)
    return tuple(
        Node(data[at : at + ID_SIZE], _parse_peer(data[at + ID_SIZE : at + _NODE_SIZE]))
        for at in starts
    )


def _parse_values(values: Value) -> tuple[Address, ...]:
    if not isinstance(values, list):
        raise ProtocolError("a DHT reply whose values are no list")
    # Other lengths are other address families (BEP 32), not errors.
    return tuple(
        _parse_peer(value)
        for value in values[:MAX_VALUES]
        if isinstance(value, bytes) and len(value) == _PEER_SIZE
    )


def _parse_peer(data: bytes) -> Address:
    host = str(ipaddress.IPv4Address(data[:4]))
    return Address(host, int.from_bytes(data[4:], "big"))
