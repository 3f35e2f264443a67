"""Read and write addresses of peers; pure.

An address is an IP address or a host name, and a TCP port or, for a DHT node, a UDP
port. `address_scope` decides which addresses may be dialled.
"""

import re
from typing import NamedTuple

from shoal.core.names.address_scope import (
    Scope,
    canonical_host,
    is_acceptable,
    scope_of,
    zone_of,
)
from shoal.errors import UsageError

__all__ = ["Address", "named_address", "parse_address"]

MAX_HOST_LENGTH = 253  # characters; RFC 1035 section 2.3.4, less the root's dot
MAX_LABEL_LENGTH = 63  # characters of a label; the same section
_HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_PORT = r"[0-9]{1,5}"


class Address(NamedTuple):
    """Name one endpoint of the network."""

    host: str
    """An IP address as `canonical_host` writes it or, from the user, a host name."""
    port: int
    """1 to 65535."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address in `HOST:PORT`, where an IPv6 address is in brackets.

    A link-local IPv6 address has the zone of this machine, as `[fe80::1%eth0]:4001`.
    Raises `UsageError` for any other text.
    """
    host, colon, port = text.rpartition(":")
    if colon and host.startswith("[") and host.endswith("]"):
        host = _parse_ipv6(host[1:-1])
    else:
        _check_name(host if colon else "", text)
    if not re.fullmatch(_PORT, port) or not 1 <= int(port) <= 65535:
        raise UsageError(f"The port in {text[:80]!r} is not a number from 1 to 65535.")
    return Address(host, int(port))


def named_address(host: str, port: int, source: str) -> Address | None:
    """Return the address that the node at `source` names, if it may be dialled.

    Such an address has no zone, because a zone is a name within one machine: that of a
    link-local address is the zone in which we are connected with `source`.
    """
    written = None if "%" in host else canonical_host(host)
    if written is not None and scope_of(written) is Scope.LINK:
        written = f"{written}%{zone_of(source)}"
    if written is None or not is_acceptable(Address(written, port), source):
        return None
    return Address(written, port)


def _parse_ipv6(text: str) -> str:
    host = canonical_host(text) if ":" in text else None
    if host is None:
        raise UsageError(
            f"{text[:80]!r} is not an IPv6 address; write it like [fd00::1]:4001."
        )
    if host.startswith("fe80:") and not zone_of(host):
        raise UsageError(
            f"{host} may be on any network of this machine; name the interface, "
            f"like [{host}%eth0]:4001."
        )
    return host


def _check_name(host: str, text: str) -> None:
    """Raise `UsageError` unless `host` is an IPv4 address or the name of a host."""
    if ":" in host:
        raise UsageError(
            f"{text[:80]!r} is not an address; write it as HOST:PORT, and an IPv6 "
            "address in brackets, like [fd00::1]:4001."
        )
    if len(host) > MAX_HOST_LENGTH or not re.fullmatch(_HOST, host):
        raise UsageError(f"{text[:80]!r} is not an address; write it as HOST:PORT.")
    if not all(0 < len(label) <= MAX_LABEL_LENGTH for label in host.split(".")):
        raise UsageError(
            f"{host[:80]!r} is not a host name; write 1 to {MAX_LABEL_LENGTH} "
            "characters between dots."
        )
