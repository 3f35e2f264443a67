"""The IPv4 interfaces of this machine, confined to those the user allows.

`SHOAL_INTERFACES=lo,192.168.1.7` confines listening, multicast and the DHT; this
module turns such a list into interfaces. It stands below the networks because
transport and discovery both ask it.
"""

import socket
import sys
from collections.abc import Sequence
from typing import NamedTuple

from shoal.errors import UsageError

__all__ = ["Interface", "list_interfaces", "parse_interfaces"]


class Interface(NamedTuple):
    """Describe one IPv4 address of this machine."""

    name: str
    """What the system calls it, as `eth0`."""
    address: str
    """Dotted IPv4."""
    prefix: int
    """Bits of its subnet, 0 to 32."""

    def is_on_subnet(self, address: str) -> bool:
        """Say whether an address belongs to this interface's subnet.

        What is not a dotted IPv4 address belongs to none.
        """
        # Asked for every packet of the LAN, hence no `ipaddress`, which also costs
        # more to import than the rest of this module.
        try:
            theirs = _to_integer(address)
        except OSError:
            return False
        return (theirs ^ _to_integer(self.address)) >> (32 - self.prefix) == 0


def parse_interfaces(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of interface names or IPv4 addresses."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def list_interfaces(allowed: Sequence[str] = ()) -> list[Interface]:
    """Return this machine's IPv4 interfaces, in the system's order.

    With `allowed`, only those whose name or address is in it.
    Raises `UsageError` when an allowed one is not there.
    """
    found = _list_all()
    if not allowed:
        return found
    for word in allowed:
        if not any(word in (each.name, each.address) for each in found):
            names = ", ".join(sorted({each.name for each in found})) or "none"
            raise UsageError(
                f"There is no interface {word!r} with an IPv4 address here; "
                f"SHOAL_INTERFACES may name: {names}."
            )
    return [each for each in found if each.name in allowed or each.address in allowed]


def _to_integer(address: str) -> int:
    return int.from_bytes(socket.inet_pton(socket.AF_INET, address))


def _list_all() -> list[Interface]:
    if sys.platform == "linux":
        from shoal.net.netlink import list_addresses

        try:
            return [Interface(*each) for each in list_addresses()]
        except OSError:
            pass  # a kernel or sandbox without rtnetlink
    import ifaddr

    return [
        Interface(adapter.nice_name, ip.ip, ip.network_prefix)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, str)
    ]
