"""Addresses of peers: where to dial, and how people write them down.

An address is an IPv4 address or a host name, and a TCP (or, for a DHT node,
UDP) port. Whether an address may be dialled is not decided here.
"""

import re
from typing import NamedTuple

from shoal.errors import UsageError

__all__ = ["Address", "parse_address"]

MAX_HOST_LENGTH = 253  # characters, RFC 1035 section 2.3.4 less the root's dot
_HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_PORT = r"[0-9]{1,5}"


class Address(NamedTuple):
    """Name one end point of the network."""

    host: str
    """An IPv4 address in dotted form or, as typed by a person, a host name."""
    port: int
    """1 to 65535."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `HOST:PORT` as a person writes it.

    Raises `UsageError` when the text is anything else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or len(host) > MAX_HOST_LENGTH or not re.fullmatch(_HOST, host):
        raise UsageError(f"{text[:80]!r} is not an address; write it as HOST:PORT.")
    if not re.fullmatch(_PORT, port) or not 1 <= int(port) <= 65535:
        raise UsageError(f"The port in {text[:80]!r} is not a number from 1 to 65535.")
    return Address(host, int(port))
