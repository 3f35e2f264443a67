"""List the addresses of this machine's interfaces, restricted to those the user allows.

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
from shoal.net.socket_names import family_of, host_of

__all__ = ["Interface", "list_interfaces", "own_addresses", "parse_interfaces"]

NETLINK_TIMEOUT = 5.0  # seconds for the kernel to answer

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_NEW_ADDRESS, _GET_ADDRESSES, _DONE = 20, 22, 3  # message types
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # attribute types
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
# IFA_F_TENTATIVE and IFA_F_DADFAILED: another machine may have the address (RFC 4862
# section 5.4), and a socket cannot be bound to it.
_UNUSABLE = 0x40 | 0x08


class Interface(NamedTuple):
    """Describe one IP address of this machine."""

    name: str
    """The system's name for the interface, such as `eth0`."""
    address: str
    """Dotted IPv4, or IPv6 as in RFC 5952 with the zone of a link-local address."""
    prefix: int
    """Length of the subnet prefix: 0 to 32 bits, or to 128 bits of an IPv6 address."""

    @property
    def is_ipv6(self) -> bool:
        """Return True if the address is an IPv6 address."""
        return ":" in self.address

    def is_on_subnet(self, address: str) -> bool:
        """Return True if an address belongs to this interface's subnet.

        Anything but an IP address of the same kind belongs to no subnet.
        """
        # Called for every packet on the LAN, hence without `ipaddress`, which also
        # takes longer to import than the rest of this module.
        family = family_of(self.address)
        host, _, zone = self.address.partition("%")
        their_host, _, their_zone = address.partition("%")
        try:
            ours, theirs = (
                socket.inet_pton(family, each) for each in (host, their_host)
            )
        except (OSError, ValueError):
            return False
        different = int.from_bytes(ours) ^ int.from_bytes(theirs)
        return zone == their_zone and different >> (8 * len(ours) - self.prefix) == 0


def parse_interfaces(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of interface names or IP addresses."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def list_interfaces(
    allowed: Sequence[str] = (), *, must_exist: bool = True
) -> list[Interface]:
    """Return the addresses of this machine's interfaces, in the system's order.

    With `allowed`, return only those with a name or address in it. IPv6 addresses that
    may still turn out to be another machine's are left out.
    Raises `UsageError` if an allowed interface does not exist but `must_exist`,
    `OSError` if the system does not list its interfaces.
    """
    found = _list_all()
    if not allowed:
        return found
    for word in allowed:
        if must_exist and not any(_is_named(each, word) for each in found):
            names = ", ".join(sorted({each.name for each in found})) or "none"
            raise UsageError(
                f"There is no interface {word!r} with an address here; "
                f"SHOAL_INTERFACES may name: {names}."
            )
    return [each for each in found if any(_is_named(each, word) for word in allowed)]


def own_addresses() -> frozenset[str]:
    """Return every IP address of this machine, or none if the system lists none."""
    try:
        return frozenset(each.address for each in _list_all())
    except OSError:
        return frozenset()


def _is_named(interface: Interface, word: str) -> bool:
    """Return True if a word of the user is an interface's name or its address."""
    if word in interface[:2]:
        return True
    host, _, zone = word.strip("[]").partition("%")
    address, _, their_zone = interface.address.partition("%")
    if ":" not in host or zone not in ("", their_zone):
        return False
    try:
        written = socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        return False
    return interface.is_ipv6 and written == socket.inet_pton(socket.AF_INET6, address)


def _list_all() -> list[Interface]:
    if sys.platform == "linux":
        try:
            return list(_ask_kernel())
        except OSError:
            pass  # a kernel or sandbox without rtnetlink
    import ifaddr

    return [
        Interface(
            adapter.nice_name,
            ip.ip if isinstance(ip.ip, str) else host_of((ip.ip[0], 0, 0, ip.ip[2])),
            ip.network_prefix,
        )
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]


def _ask_kernel() -> Iterator[Interface]:
    """Yield every IP address, in the kernel's order (rtnetlink(7), RTM_GETADDR).

    Raises `OSError` if the kernel refuses.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        sock.settimeout(NETLINK_TIMEOUT)
        request = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
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
                yield from _read_address(data[_HEADER.size : size])
                data = data[_align(size) :]


def _read_address(message: bytes) -> Iterator[Interface]:
    """Yield the address in a message, unless it cannot be used."""
    family, prefix, flags, _, index = _ADDRESS.unpack_from(message)
    if family not in _FAMILIES or flags & _UNUSABLE:
        return
    values: dict[int, bytes] = {}
    offset = _ADDRESS.size
    while offset < len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, offset)
        values[kind] = message[offset + _ATTRIBUTE.size : offset + size]
        offset += _align(size)
    # On a point-to-point link IFA_ADDRESS is the address of the other end.
    address = values.get(_IFA_LOCAL) or values[_IFA_ADDRESS]
    name = socket.if_indextoname(index)
    host = socket.inet_ntop(family, address)
    yield Interface(name, f"{host}%{name}" if _is_link_local(host) else host, prefix)


def _is_link_local(host: str) -> bool:
    """Return True if an IPv6 address is in fe80::/64 (RFC 4291 section 2.5.6)."""
    return host.startswith("fe80:")


def _align(size: int) -> int:
    return -(-size // 4) * 4
