"""Where the gateway listens, and by which names it may be asked.

A page of a stranger can have its own name point here (DNS rebinding), and then reads
what it likes as its own: so a request is answered only if it names this gateway. An
address cannot be rebound, a name can. `threats.md`, E1.
"""

import ipaddress
import re
from collections.abc import Sequence

from msgspec import Struct

from shoal.errors import UsageError

__all__ = [
    "LOOPBACK",
    "AllowedHosts",
    "Endpoint",
    "allowed_hosts",
    "format_host",
    "parse_endpoint",
]

LOOPBACK = ("127.0.0.1", "::1")
"""Where it listens unless told otherwise."""
HTTP_PORT = 80  # what a client leaves out
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_ADDRESS = re.compile(r"(\[[0-9a-f:.]+\]|[0-9.]+)(?::([0-9]{1,5}))?")
_PORT = re.compile(r"[0-9]{1,5}")


class Endpoint(Struct, frozen=True):
    """Say where to listen."""

    host: str
    """A name or an address; empty for both kinds of loopback."""
    port: int
    """0 for a free one."""

    @property
    def is_wildcard(self) -> bool:
        """Say whether it is every address of this machine."""
        return self.host in ("0.0.0.0", "::")

    @property
    def is_loopback(self) -> bool:
        """Say whether no other machine gets there."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() in ("", "localhost")


def parse_endpoint(text: str) -> Endpoint:
    """Read `HOST:PORT`, `[IPV6]:PORT` or `:PORT`; raises `UsageError`."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise UsageError(
            f"{text[:80]!r} is no HOST:PORT to listen at, as 127.0.0.1:80."
        )
    if host.startswith("[") and host.endswith("]"):
        try:
            return Endpoint(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        except ValueError:
            pass
    elif not host or _NAME.fullmatch(host):
        return Endpoint(host, int(port))
    raise UsageError(f"{host[:80]!r} is no host; an IPv6 address stands in brackets.")


def format_host(host: str, port: int) -> str:
    """Return `HOST:PORT` as it stands in a URL."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port == HTTP_PORT else f"{shown}:{port}"


def allowed_hosts(endpoint: Endpoint, port: int) -> "AllowedHosts":
    """Return by which names a gateway there, at `port`, may be asked."""
    names = {"localhost", *LOOPBACK}
    if endpoint.host:
        names.add(endpoint.host.lower())
    known = {format_host(name, port) for name in names}
    if port == HTTP_PORT:
        known |= {f"{each}:{port}" for each in known}
    return AllowedHosts(frozenset(known), port if endpoint.is_wildcard else None)


class AllowedHosts(Struct, frozen=True):
    """Tell our own names from all others."""

    names: frozenset[str]
    address_port: int | None
    """With a number, every address is allowed that has this port."""

    def allows(self, lines: Sequence[str]) -> bool:
        """Say whether a request with these `Host` headers is meant for us."""
        if len(lines) != 1:
            return False
        name = lines[0].strip(" \t").lower()
        if name in self.names:
            return True
        return self.address_port is not None and self._is_address(name)

    def _is_address(self, name: str) -> bool:
        match = _ADDRESS.fullmatch(name)
        if match is None or int(match[2] or HTTP_PORT) != self.address_port:
            return False
        try:
            ipaddress.ip_address(match[1].strip("[]"))
        except ValueError:
            return False
        return (":" in match[1]) == match[1].startswith("[")
