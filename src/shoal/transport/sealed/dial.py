"""Connect to another holder of a share: at its address, or at a relay.

docs/protocol.md, "Sealed transport", "Simultaneous open" and "Relays".
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.core.crypto.crossing import DialHandshake
from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import KnockMemory, handshake_start
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.errors import PeerError, PeerTimeoutError, RelayError
from shoal.transport.dial import connect, reaching
from shoal.transport.sealed.bound import connect_from
from shoal.transport.sealed.knocking import DIAL_TIME, Knocking
from shoal.transport.sealed.proven import Factory, ProvenPeer
from shoal.transport.sealed.relay import AtRelay, relay_request

if TYPE_CHECKING:
    from shoal.transport.sealed.port import Port

__all__ = ["PUNCH_TIME", "dial_sealed", "meet_sealed", "settle"]

# Longer than a sharer takes to look for us again ("DHT discovery"). The system sends a
# SYN at once and after 1, 3, 7 and 15 s.
PUNCH_TIME = 16.0  # seconds for a connection to a global address to be made

P = TypeVar("P", bound=asyncio.BufferedProtocol)


async def dial_sealed(
    address: Address,
    keys: Keys,
    node_id: bytes,
    factory: Callable[[ProvenPeer], P],
    *,
    threads: Executor | None = None,
    within: float = DIAL_TIME,
    knocks: KnockMemory | None = None,
    port: "Port | None" = None,
) -> P:
    """Connect to a peer that knows the id; return the protocol that `factory` makes.

    This is the client's side of docs/protocol.md, "Sealed transport", and both sides of
    "Simultaneous open", for which `knocks` are those that this node has received. The
    client sends nothing but the knock until the server has proven that it knows the
    id. `factory` is called then, and may raise `PeerError` to refuse the peer. Large
    amounts of data are encrypted in `threads`. With the `port` of this node, global
    addresses are dialled from there, for `PUNCH_TIME`, and a peer that dials for
    another share of that port at the same time is connected for one of the two.

    Raises `SelfConnectionError` if this node itself answered (forget the address),
    `NotAHolderError` if the peer does not know the id, `ProtocolError` if it does
    not speak the protocol, `PeerTimeoutError` after `within` seconds, and
    `PeerError` if it cannot be reached or hangs up, as a node does that does
    not have the share.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[P] = loop.create_future()
    handshake = DialHandshake(
        handshake_start(keys), node_id, KnockMemory() if knocks is None else knocks
    )
    on_unopened = None if port is None else port.on_unopened
    knocking = Knocking(address, handshake, factory, outcome, threads, on_unopened)
    with _settling(knocking, outcome):
        if port is not None and scope_of(address.host) is Scope.GLOBAL:
            async with reaching(address, PUNCH_TIME):
                sock = await connect_from(
                    port.port,
                    address,
                    keys,
                    port.listen_aside,
                    number=port.number(port.port),
                    is_known=port.has_met(address.host),
                )
                await loop.create_connection(lambda: knocking, sock=sock)
            async with reaching(address, within):
                return await outcome
        async with reaching(address, within):
            await connect(lambda: knocking, address)
            return await outcome


async def meet_sealed(
    port: "Port",
    relay: Address,
    keys: Keys,
    factory: Factory,
    on_met: Callable[[], None],
    name: bytes,
) -> None:
    """Wait at a relay for another holder of a share, and connect `port` with it.

    `on_met` is called once another node is there. Nodes with the same `name` do not
    meet. Both have connected to the relay, so the handshake is that of a simultaneous
    open. Raises `RelayError` if the relay cannot be reached or refuses, and otherwise
    as `dial_sealed` does.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[asyncio.BufferedProtocol] = loop.create_future()
    knocking = Knocking(
        relay,
        DialHandshake(handshake_start(keys), port.node_id, port.knocks),
        lambda proven: factory(proven._replace(is_relayed=True)),
        outcome,
        port.threads,
    )

    def begin(transport: asyncio.Transport) -> None:
        on_met()
        transport.set_protocol(knocking)
        knocking.connection_made(transport)

    waiting = AtRelay(relay_request(keys, name), begin)
    try:
        async with reaching(relay, DIAL_TIME):
            await connect(lambda: waiting, relay)
        await waiting.met
    except PeerError as error:
        raise RelayError(str(error)) from error
    finally:
        if not waiting.met.done() or waiting.met.cancelled():
            waiting.abort()
    with _settling(knocking, outcome):
        async with reaching(relay, DIAL_TIME):
            await outcome


@contextmanager
def _settling(knocking: Knocking, outcome: "asyncio.Future[Any]") -> Iterator[None]:
    """End the handshake if the block ends before its outcome is known."""
    try:
        yield
    except (PeerTimeoutError, asyncio.CancelledError):
        knocking.abort()
        raise
    finally:
        settle(outcome)


def settle(outcome: "asyncio.Future[Any]") -> None:
    """Cancel an outcome that is not known yet; keep asyncio from logging its error."""
    if not outcome.cancel() and not outcome.cancelled():
        outcome.exception()  # marks it as retrieved
