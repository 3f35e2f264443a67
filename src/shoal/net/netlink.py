"""The IPv4 addresses of this machine, asked of Linux by a plain socket.

The library that does this everywhere loads ctypes, which takes longer than all of
what a `shoal chunk` does on the network; so Linux is asked here, by rtnetlink(7).
"""

import socket
import struct
from typing import NamedTuple

__all__ = ["InterfaceAddress", "list_addresses"]

PATIENCE = 5.0  # seconds the kernel has for its answer
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_NEW_ADDRESS, _GET_ADDRESSES, _DONE = 20, 22, 3  # message types
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # attribute types


class InterfaceAddress(NamedTuple):
    """Name one address of one interface."""

    name: str
    address: str
    prefix: int


def list_addresses() -> list[InterfaceAddress]:
    """Return every IPv4 address, in the kernel's order.

    Raises `OSError` when the kernel does not tell.
    """
    found: list[InterfaceAddress] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        sock.settimeout(PATIENCE)
        ask = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
        size = _HEADER.size + len(ask)
        sock.send(_HEADER.pack(size, _GET_ADDRESSES, _REQUEST_DUMP, 1, 0) + ask)
        while True:
            data = sock.recv(1 << 16)
            while data:
                size, kind, *_ = _HEADER.unpack_from(data)
                if kind == _DONE:
                    return found
                if kind != _NEW_ADDRESS:
                    raise OSError("the kernel does not tell its addresses")
                found.append(_read_address(data[_HEADER.size : size]))
                data = data[_align(size) :]


def _read_address(message: bytes) -> InterfaceAddress:
    _, prefix, _, _, index = _ADDRESS.unpack_from(message)
    values: dict[int, bytes] = {}
    place = _ADDRESS.size
    while place < len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, place)
        values[kind] = message[place + _ATTRIBUTE.size : place + size]
        place += _align(size)
    # On a point-to-point link IFA_ADDRESS is the other end.
    address = values.get(_IFA_LOCAL) or values[_IFA_ADDRESS]
    name = socket.if_indextoname(index)
    return InterfaceAddress(name, socket.inet_ntoa(address), prefix)


def _align(size: int) -> int:
    return -(-size // 4) * 4
