"""Read and write addresses of peers; pure.

An address is an IPv4 address or a host name, and a TCP port or, for a DHT node, a UDP
port. `address_scope` decides which addresses may be dialled.
"""

import re
from typing import NamedTuple

from shoal.errors import UsageError

__all__ = ["Address", "parse_address"]

MAX_HOST_LENGTH = 253  # characters; RFC 1035 section 2.3.4, less the root's dot
MAX_LABEL_LENGTH = 63  # characters of a label; the same section
_HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_PORT = r"[0-9]{1,5}"


class Address(NamedTuple):
    """Name one endpoint of the network."""

    host: str
    """An IPv4 address in dotted form or, from the user, a host name."""
    port: int
    """1 to 65535."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address in `HOST:PORT`.

    Raises `UsageError` for any other text.
    """
    host, colon, port = text.rpartition(":")
    if not colon or len(host) > MAX_HOST_LENGTH or not re.fullmatch(_HOST, host):
        raise UsageError(f"{text[:80]!r} is not an address; write it as HOST:PORT.")
    if not all(0 < len(label) <= MAX_LABEL_LENGTH for label in host.split(".")):
        raise UsageError(
            f"{host[:80]!r} is not a host name; write 1 to {MAX_LABEL_LENGTH} "
            "characters between two dots."
        )
    if not re.fullmatch(_PORT, port) or not 1 <= int(port) <= 65535:
        raise UsageError(f"The port in {text[:80]!r} is not a number from 1 to 65535.")
    return Address(host, int(port))
