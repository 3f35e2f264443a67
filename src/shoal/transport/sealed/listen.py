"""Listen for peers of sealed shares: one port for all the shares of a node.

This is the server's side of docs/protocol.md, "Sealed transport". A client that does
not know the id of any share gets no answer, not one byte: exactly one knock is read
from the raw socket, and a wrong one closes it. TLS starts only after a right knock, and
only the proofs inside TLS let a connection through to its share. From its acceptance to
the last proof every connection has one deadline and belongs to the listener, which
counts, evicts and ends it; after that it belongs to the protocol that the share's
factory made.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from typing import NamedTuple

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.proof import (
    KNOCK_SIZE,
    NONCE_SIZE,
    NonceMemory,
    ServerProof,
    match_knock,
)
from shoal.core.limits import HandshakeLimit
from shoal.errors import PeerError, UsageError
from shoal.transport.listen import PortListener, file_limit
from shoal.transport.sealed.half_open import MAX_HALF_OPEN, HalfOpen
from shoal.transport.sealed.proven import Factory, ProvenPeer, ProvenProtocol
from shoal.transport.tls.certificate import Certificates
from shoal.transport.tls.tls import TlsConnection

__all__ = ["MAX_SHARES", "PROOF_TIME", "SealedListener"]

MAX_SHARES = 10_000  # per listener; comparing a knock with all of them takes 20 ms
_FULL = (
    f"A node can offer {MAX_SHARES} sealed shares at a time; start another one for "
    "more."
)
# docs/protocol.md, "Sealed transport", allows 10 s up to the last proof.
PROOF_TIME = 10.0  # seconds from acceptance
BACKLOG = 1024  # connections the system may hold ready, those of a flood included
LOG_PERIOD = 60.0  # seconds between two log lines about strangers

_log = logging.getLogger(__name__)


class _Share(NamedTuple):
    """Hold the registration of one share."""

    keys: Keys
    factory: Factory
    yields: bool


class _Stranger:
    """Hold one half-open connection."""

    __slots__ = ("accepted", "host", "task", "tls")

    def __init__(self, accepted: socket.socket, host: str) -> None:
        self.accepted = accepted
        self.host = host
        self.task: asyncio.Task[None] | None = None
        self.tls: TlsConnection | None = None

    def end(self) -> None:
        """Close the connection, whichever step it has reached."""
        if self.tls is not None:
            self.tls.abort()
        elif self.task is not None:
            self.task.cancel()


class SealedListener(PortListener[_Stranger]):
    """Accept connections for every registered share until closed."""

    def __init__(
        self,
        node_id: bytes,
        certificates: Certificates,
        *,
        hosts: Sequence[str],
        port: int = 0,
        within: float = PROOF_TIME,
        max_half_open: int = MAX_HALF_OPEN,
        handshake_limit: HandshakeLimit | None = None,
    ) -> None:
        """Listen at `port` of all `hosts`; port 0 chooses a free one.

        Raises as `bind_all` does.
        """
        super().__init__(hosts, port)
        for each in self._sockets:
            each.listen(BACKLOG)
        self._node_id = node_id
        self._certificates = certificates
        self._within = within
        self._shares: dict[bytes, _Share] = {}  # by knock key
        self._nonces = NonceMemory()
        self._handshake_limit = (
            HandshakeLimit() if handshake_limit is None else handshake_limit
        )
        # The remaining descriptors are for peers and files.
        most = min(max_half_open, file_limit() // 4)
        self._half_open: HalfOpen[_Stranger] = HalfOpen(most)
        self._timer: asyncio.TimerHandle | None = None
        self._strangers = 0  # ended since the last log line
        self._logged = float("-inf")

    @property
    def half_open(self) -> int:
        """Return how many connections have not passed both proofs yet."""
        return len(self._half_open)

    def register(self, keys: Keys, factory: Factory, *, yields: bool = False) -> None:
        """Accept holders of a share; `factory` makes their connections' protocols.

        The factory is called when a holder's proof has passed, just before ours is
        sent; see `ProvenProtocol` for the rest. A registration that `yields` gives way
        to another of the same share, now or later: its owner dials peers itself and can
        do without inbound connections. Raises `UsageError` if the share is registered
        already or there are `MAX_SHARES`.
        """
        other = self._shares.get(keys.knock)
        if other is None and len(self._shares) >= MAX_SHARES:
            problem = _FULL
        elif other is not None and (yields or not other.yields):
            problem = "This node offers that share already."
        else:
            self._shares[keys.knock] = _Share(keys, factory, yields)
            return
        if not yields:
            raise UsageError(problem)

    def check_room(self) -> None:
        """Raise `UsageError` if there are `MAX_SHARES`."""
        if len(self._shares) >= MAX_SHARES:
            raise UsageError(_FULL)

    def unregister(self, keys: Keys, factory: Factory) -> None:
        """Accept no more holders of a share if `factory` makes its connections.

        Established connections stay.
        """
        share = self._shares.get(keys.knock)
        if share is not None and share.factory == factory:
            del self._shares[keys.knock]

    async def aclose(self) -> None:
        """Stop accepting and end half-open connections; established ones stay."""
        while (stranger := self._half_open.remove_oldest()) is not None:
            stranger.end()
        if self._timer is not None:
            self._timer.cancel()
        await super().aclose()

    # Half-open connections.

    def _on_accepted(self, accepted: socket.socket, host: str) -> None:
        stranger = _Stranger(accepted, host)
        deadline = self._loop.time() + self._within
        evicted = self._half_open.add(stranger, host, deadline)
        if evicted is not None:
            evicted.end()
        stranger.task = self._run(self._meet(stranger), stranger)
        self._set_timer()

    def _make_room(self, count: int) -> int:
        """End up to `count` of the oldest half-open connections; return how many."""
        ended = 0
        while ended < count and (stranger := self._half_open.tighten()) is not None:
            stranger.end()
            ended += 1
        return ended

    def _set_timer(self) -> None:
        deadline = self._half_open.next_deadline()
        if self._timer is None and deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        for stranger in self._half_open.remove_overdue(self._loop.time()):
            stranger.end()
        self._set_timer()

    def _on_refused(self, stranger: _Stranger) -> None:
        """Count a connection that did not pass; log the count now and then."""
        self._half_open.remove(stranger)
        self._strangers += 1
        now = self._loop.time()
        if now - self._logged >= LOG_PERIOD:
            _log.info("%d connections were not from holders", self._strangers)
            self._logged, self._strangers = now, 0

    def _on_task_done(self, task: asyncio.Task[None], connection: _Stranger) -> None:
        """Close the connection of a stranger that never reached TLS."""
        # A cancelled task keeps its frames, and so the stranger: without this, only the
        # garbage collector would free the memory of a flood.
        connection.task = None
        if connection.tls is None:
            connection.accepted.close()
            self._on_refused(connection)

    # The steps of docs/protocol.md, "Sealed transport", as the server.

    async def _meet(self, stranger: _Stranger) -> None:
        """Read the knock; if it is right, begin TLS, otherwise close without an answer.

        The end of this task closes a connection that has not reached TLS.
        """
        # Exactly the bytes of a knock: those after it are for TLS.
        knock = bytearray(KNOCK_SIZE)
        received = 0
        try:
            while received < KNOCK_SIZE:
                room = memoryview(knock)[received:] if received else knock
                count = await self._loop.sock_recv_into(stranger.accepted, room)
                if not count:
                    return
                received += count
        except OSError:
            return
        share = self._recognise(knock)
        if share is not None and self._handshake_limit.allows(
            stranger.host, self._loop.time()
        ):
            tls = stranger.tls = self._begin_tls(stranger, share)
            await self._loop.connect_accepted_socket(lambda: tls, stranger.accepted)

    def _recognise(self, knock: bytearray) -> _Share | None:
        """Return the share that a knock is for, None if it is wrong or repeated."""
        shares = list(self._shares.values())
        place = match_knock(list(self._shares), knock)
        if place is None or not self._nonces.spend(knock):
            return None
        return shares[place]

    def _begin_tls(self, stranger: _Stranger, share: _Share) -> TlsConnection:
        certificate = self._certificates.current()
        nonce = os.urandom(NONCE_SIZE)

        def begin(tls: ssl.SSLObject) -> ServerProof:
            return ServerProof(share.keys, self._node_id, certificate.digest, nonce)

        is_proven = False

        def on_proven(peer: ProvenPeer) -> asyncio.BufferedProtocol:
            nonlocal is_proven
            is_proven = True
            self._half_open.remove(stranger)
            # The share may have been withdrawn during the proofs.
            if self._shares.get(share.keys.knock) is not share:
                raise PeerError("the share is no longer shared")
            return share.factory(peer)

        def on_failed(_: Exception | None) -> None:
            if not is_proven:  # otherwise we refused a holder
                self._handshake_limit.on_failed(stranger.host, self._loop.time())
            self._on_refused(stranger)

        proven = ProvenProtocol(begin, on_proven, on_failed)
        return TlsConnection(certificate.context, proven, is_server=True)
