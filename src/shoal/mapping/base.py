"""The interface of every way to have a port mapped, and what all of them share."""

import socket
from typing import NamedTuple, Protocol

from shoal.core.names.address import Address
from shoal.errors import RouterError
from shoal.net.socket_names import family_of

__all__ = ["LIFETIME", "Mapped", "Method", "check_mapped"]

LIFETIME = 3600  # seconds that a mapping should last; it is renewed long before


class Mapped(NamedTuple):
    """A mapping that a router has made."""

    outside: Address
    """Where the internet reaches the port, as the router claims."""
    lifetime: float
    """Seconds that it lasts; 0 for ever."""


class Method(Protocol):
    """One router that speaks one protocol for mapping ports."""

    name: str
    """The protocol, for messages: `PCP`."""

    async def map(self, port: int, wanted: int) -> Mapped:
        """Map a TCP port of this machine, if possible to the port `wanted`; or renew.

        Raises `RouterError` if the router refuses or does not answer.
        """
        ...

    async def unmap(self, port: int, outside: int) -> None:
        """Give a mapping back; raises `RouterError`."""
        ...


def check_mapped(host: str, port: int, lifetime: float) -> Mapped:
    """Return a mapping as a router describes it; raises `RouterError` if impossible."""
    try:
        socket.inet_pton(family_of(host), host)
    except (OSError, ValueError):
        raise RouterError("it names an invalid address") from None
    if not 1 <= port <= 65535:
        raise RouterError("it names an invalid port")
    return Mapped(Address(host, port), lifetime)
