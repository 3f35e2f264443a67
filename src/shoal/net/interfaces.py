"""List this machine's IPv4 interfaces, restricted to those the user allows.

`SHOAL_INTERFACES=lo,192.168.1.7` restricts listening, multicast and the DHT; this
module turns such a list into interfaces. On Linux the kernel is asked directly, by
rtnetlink(7): the library that covers every system loads ctypes, which takes longer
than everything a `shoal chunk` does on the network.
"""

import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shoal.errors import UsageError

__all__ = ["Interface", "list_interfaces", "own_addresses", "parse_interfaces"]

NETLINK_TIMEOUT = 5.0  # seconds for the kernel to answer

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_NEW_ADDRESS, _GET_ADDRESSES, _DONE = 20, 22, 3  # message types
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # attribute types


class Interface(NamedTuple):
    """Describe one IPv4 address of this machine."""

    name: str
    """The system's name for the interface, such as `eth0`."""
    address: str
    """Dotted IPv4."""
    prefix: int
    """Length of the subnet prefix, 0 to 32 bits."""

    def is_on_subnet(self, address: str) -> bool:
        """Return True if an address belongs to this interface's subnet.

        Anything but a dotted IPv4 address belongs to no subnet.
        """
        # Called for every packet on the LAN, hence without `ipaddress`, which also
        # takes longer to import than the rest of this module.
        try:
            theirs = _to_integer(address)
        except OSError:
            return False
        return (theirs ^ _to_integer(self.address)) >> (32 - self.prefix) == 0


def parse_interfaces(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of interface names or IPv4 addresses."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def list_interfaces(
    allowed: Sequence[str] = (), *, must_exist: bool = True
) -> list[Interface]:
    """Return this machine's IPv4 interfaces, in the system's order.

    With `allowed`, return only those with a name or address in it.
    Raises `UsageError` if an allowed interface does not exist but `must_exist`,
    `OSError` if the system does not list its interfaces.
    """
    found = _list_all()
    if not allowed:
        return found
    for word in allowed:
        if must_exist and not any(word in each[:2] for each in found):
            names = ", ".join(sorted({each.name for each in found})) or "none"
            raise UsageError(
                f"There is no interface {word!r} with an IPv4 address here; "
                f"SHOAL_INTERFACES may name: {names}."
            )
    return [each for each in found if each.name in allowed or each.address in allowed]


def own_addresses() -> frozenset[str]:
    """Return every IPv4 address of this machine, or none if the system lists none."""
    try:
        return frozenset(each.address for each in _list_all())
    except OSError:
        return frozenset()


def _to_integer(address: str) -> int:
    return int.from_bytes(socket.inet_pton(socket.AF_INET, address))


def _list_all() -> list[Interface]:
    if sys.platform == "linux":
        try:
            return list(_ask_kernel())
        except OSError:
            pass  # a kernel or sandbox without rtnetlink
    import ifaddr

    return [
        Interface(adapter.nice_name, ip.ip, ip.network_prefix)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str)
    ]


def _ask_kernel() -> Iterator[Interface]:
    """Yield every IPv4 address, in the kernel's order (rtnetlink(7), RTM_GETADDR).

    Raises `OSError` if the kernel refuses.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        sock.settimeout(NETLINK_TIMEOUT)
        request = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
        size = _HEADER.size + len(request)
        sock.send(_HEADER.pack(size, _GET_ADDRESSES, _REQUEST_DUMP, 1, 0) + request)
        while True:
            data = sock.recv(1 << 16)
            while data:
                size, kind, *_ = _HEADER.unpack_from(data)
                if kind == _DONE:
                    return
                if kind != _NEW_ADDRESS:
                    raise OSError("the kernel does not list its addresses")
                yield _read_address(data[_HEADER.size : size])
                data = data[_align(size) :]


def _read_address(message: bytes) -> Interface:
    _, prefix, _, _, index = _ADDRESS.unpack_from(message)
    values: dict[int, bytes] = {}
    offset = _ADDRESS.size
    while offset < len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, offset)
        values[kind] = message[offset + _ATTRIBUTE.size : offset + size]
        offset += _align(size)
    # On a point-to-point link IFA_ADDRESS is the address of the other end.
    address = values.get(_IFA_LOCAL) or values[_IFA_ADDRESS]
    name = socket.if_indextoname(index)
    return Interface(name, socket.inet_ntoa(address), prefix)


def _align(size: int) -> int:
    return -(-size // 4) * 4
