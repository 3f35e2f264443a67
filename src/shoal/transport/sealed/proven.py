"""The result of a handshake, and the types of the functions that connect a peer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from shoal.core.names.address import Address

__all__ = ["Dial", "Factory", "ProvenPeer"]


class ProvenPeer(NamedTuple):
    """Identify the other end of a connection, which knows the id."""

    address: Address
    """The peer's address on the socket; its listening port only if we dialled."""
    node_id: bytes
    """16 bytes: a claim that every holder can copy."""
    version: int
    """Protocol version that both ends speak."""
    is_server: bool = False
    """Whether this node became the server although it dialled, as both ends did."""
    is_crossed: bool = False
    """Whether both ends have dialled, and their dials have met."""
    is_relayed: bool = False
    """Whether `address` is that of a relay, which both ends have dialled."""


Factory: TypeAlias = Callable[[ProvenPeer], asyncio.BufferedProtocol]
"""Make the protocol that takes the connection; may raise `PeerError` to refuse it."""
Dial: TypeAlias = Callable[[Address, Factory], Awaitable[object]]
"""Connect a factory's protocol to an address; raises `PeerError`."""
