"""Where an HTTP server listens: `HOST:PORT` as the user writes it."""

import ipaddress
import re

from msgspec import Struct

from shoal.errors import UsageError

__all__ = ["HttpEndpoint", "parse_endpoint"]

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")


class HttpEndpoint(Struct, frozen=True):
    """Hold the host and port to listen on."""

    host: str
    """A name or an address; empty for the IPv4 and the IPv6 loopback address."""
    port: int
    """A TCP port; 0 for any free one."""

    @property
    def is_wildcard(self) -> bool:
        """Return True if the endpoint covers every address of this machine."""
        return self.host in ("0.0.0.0", "::")

    @property
    def is_loopback(self) -> bool:
        """Return True if no other machine can reach the endpoint."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() in ("", "localhost")


def parse_endpoint(text: str) -> HttpEndpoint:
    """Parse `HOST:PORT`, `[IPV6]:PORT` or `:PORT`; raises `UsageError`."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise UsageError(
            f"{text[:80]!r} is not HOST:PORT; write it like 127.0.0.1:8080."
        )
    if host.startswith("[") and host.endswith("]"):
        try:
            return HttpEndpoint(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        except ValueError:
            pass
    elif not host or _NAME.fullmatch(host):
        return HttpEndpoint(host, int(port))
    raise UsageError(
        f"{host[:80]!r} is not a host name; write an IPv6 address in brackets."
    )
