"""The packets of PCP (RFC 6887) and NAT-PMP (RFC 6886); pure.

Both are sent to UDP port 5351 of the router, and their first byte is the version: 2 for
PCP, 0 for NAT-PMP. Only a TCP port can be mapped. By PCP, a router also lets
connections to an IPv6 address of ours in, which it does not translate. What a router
sends is refused unless it has exactly the form of an answer to a request of ours.
"""

import socket
import struct
from typing import NamedTuple

from shoal.errors import ProtocolError

__all__ = [
    "NONCE_SIZE",
    "SERVER_PORT",
    "NatPmpAnswer",
    "PcpAnswer",
    "natpmp_address_request",
    "natpmp_map_request",
    "parse_natpmp",
    "parse_pcp",
    "pcp_announce_request",
    "pcp_map_request",
]

SERVER_PORT = 5351  # UDP, of the router; RFC 6887 section 19.1
NONCE_SIZE = 12  # bytes; RFC 6887 section 11.1
MAX_PACKET = 1100  # bytes; RFC 6887 section 7

_TCP = 6
_PCP, _NATPMP = 2, 0  # versions
_ANNOUNCE, _MAP = 0, 1  # opcodes of PCP
_ADDRESS, _MAP_TCP = 0, 2  # opcodes of NAT-PMP
_RESPONSE = 0x80  # set in the opcode of an answer
_MAPPED = b"\0" * 10 + b"\xff" * 2  # before an IPv4 address, RFC 4291 section 2.5.5.2

# RFC 6887 section 7.1: version, opcode, lifetime in seconds, address of the client.
_PCP_REQUEST = struct.Struct("!BBxxI16s")
# Section 7.2: version, opcode, result, lifetime in seconds, epoch.
_PCP_RESPONSE = struct.Struct("!BBxBII12x")
# Section 11.1: nonce, protocol, internal and external port, external address.
_PCP_MAP = struct.Struct(f"!{NONCE_SIZE}sB3xHH16s")
# RFC 6886 section 3.3: version, opcode, internal and external port, lifetime.
_NATPMP_MAP = struct.Struct("!BBxxHHI")
_NATPMP_HEAD = struct.Struct("!BBHI")  # version, opcode, result, epoch
_NATPMP_MAPPED = struct.Struct("!HHI")  # internal and external port, lifetime

_NOT_ALLOWED = "its settings do not allow that"
_OFFLINE = "it has no address on the internet"
_FULL = "it has no room for another mapping"
# RFC 6887 section 7.4.
_PCP_PROBLEMS = {
    2: _NOT_ALLOWED,
    7: _OFFLINE,
    8: _FULL,
    11: "it cannot use that port",
    12: "there is another router between it and this machine",
}
# RFC 6886 section 3.5.
_NATPMP_PROBLEMS = {2: _NOT_ALLOWED, 3: _OFFLINE, 4: _FULL}


class PcpAnswer(NamedTuple):
    """An answer of PCP to a request of ours."""

    lifetime: int
    """Seconds that the mapping lasts."""
    problem: str = ""
    """Why the router refuses, as the end of a sentence; empty if it does not."""
    nonce: bytes = b""
    """As in the request; empty in an answer to an announcement."""
    inside: int = 0
    """The port of this machine."""
    outside: int = 0
    """The port of the router."""
    host: str = ""
    """Where the internet reaches the port: the router's address, or our own of IPv6."""


class NatPmpAnswer(NamedTuple):
    """An answer of NAT-PMP: the router's address, or a mapping."""

    host: str = ""
    """The router's address on the internet; empty in an answer about a mapping."""
    inside: int = 0
    outside: int = 0
    lifetime: int = 0
    """Seconds that the mapping lasts."""
    problem: str = ""
    """Why the router refuses, as the end of a sentence; empty if it does not."""


def pcp_announce_request(client: str) -> bytes:
    """Return a request that only shows whether PCP is spoken (RFC 6887 section 14.1).

    `client` is our own address.
    """
    return _PCP_REQUEST.pack(_PCP, _ANNOUNCE, 0, _to_pcp(client))


def pcp_map_request(
    client: str, nonce: bytes, inside: int, outside: int, lifetime: int
) -> bytes:
    """Return a request to map the TCP port `inside`, if possible to `outside`.

    `lifetime` is in seconds; 0 removes the mapping (RFC 6887 sections 11.1 and 15).
    """
    head = _PCP_REQUEST.pack(_PCP, _MAP, lifetime, _to_pcp(client))
    any_host = _to_pcp("::" if ":" in client else "0.0.0.0")
    return head + _PCP_MAP.pack(nonce, _TCP, inside, outside, any_host)


def parse_pcp(data: bytes) -> PcpAnswer | None:
    """Return an answer of PCP, or None if the router does not speak that version.

    Raises `ProtocolError` for any other packet.
    """
    if not 4 <= len(data) <= MAX_PACKET or not data[1] & _RESPONSE:
        raise ProtocolError("no answer of PCP")
    # A router that speaks NAT-PMP only answers so (RFC 6886 section 3.5).
    if data[0] == _NATPMP or data[3] == 1:
        return None
    if data[0] != _PCP or len(data) < _PCP_RESPONSE.size:
        raise ProtocolError("no answer of PCP")
    _, opcode, result, lifetime, _ = _PCP_RESPONSE.unpack_from(data)
    if opcode == _RESPONSE | _ANNOUNCE:
        return PcpAnswer(0)  # any result shows that PCP is spoken
    if opcode != _RESPONSE | _MAP or len(data) < _PCP_RESPONSE.size + _PCP_MAP.size:
        raise ProtocolError("an answer of PCP to another request")
    body = _PCP_MAP.unpack_from(data, _PCP_RESPONSE.size)
    nonce, protocol, inside, outside, address = body
    if protocol != _TCP:
        raise ProtocolError("an answer of PCP for another protocol")
    # An error has the bytes of the request in place of the address.
    host = socket.inet_ntop(socket.AF_INET6, address)
    if address.startswith(_MAPPED):
        host = socket.inet_ntoa(address[len(_MAPPED) :])
    problem = _PCP_PROBLEMS.get(result, _unknown(result)) if result else ""
    return PcpAnswer(lifetime, problem, nonce, inside, outside, host)


def natpmp_address_request() -> bytes:
    """Return a request for the router's address (RFC 6886 section 3.2)."""
    return bytes((_NATPMP, _ADDRESS))


def natpmp_map_request(inside: int, outside: int, lifetime: int) -> bytes:
    """Return a request to map the TCP port `inside`, if possible to `outside`.

    `lifetime` is in seconds; 0, with 0 as `outside`, removes the mapping (RFC 6886
    sections 3.3 and 3.4).
    """
    return _NATPMP_MAP.pack(_NATPMP, _MAP_TCP, inside, outside, lifetime)


def parse_natpmp(data: bytes) -> NatPmpAnswer:
    """Return an answer of NAT-PMP; raises `ProtocolError` if it is none."""
    if len(data) < _NATPMP_HEAD.size or len(data) > MAX_PACKET or data[0] != _NATPMP:
        raise ProtocolError("no answer of NAT-PMP")
    _, opcode, result, _ = _NATPMP_HEAD.unpack_from(data)
    if opcode & _RESPONSE and result:
        return NatPmpAnswer(problem=_NATPMP_PROBLEMS.get(result, _unknown(result)))
    body = data[_NATPMP_HEAD.size :]
    if opcode == _RESPONSE | _ADDRESS and len(body) == 4:
        return NatPmpAnswer(host=socket.inet_ntoa(body))
    if opcode == _RESPONSE | _MAP_TCP and len(body) == _NATPMP_MAPPED.size:
        inside, outside, lifetime = _NATPMP_MAPPED.unpack(body)
        return NatPmpAnswer(inside=inside, outside=outside, lifetime=lifetime)
    raise ProtocolError("an answer of NAT-PMP to another request")


def _unknown(result: int) -> str:
    return f"it answers with error {result}"


def _to_pcp(address: str) -> bytes:
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return _MAPPED + socket.inet_aton(address)
