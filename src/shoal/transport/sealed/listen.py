"""Listen for peers of sealed shares: one port for all the shares of a node.

Who does not know the id of one of them gets no answer here, not one byte: the
knock is read from the bare socket, exactly, and anything else is closed. Only then
is there TLS, and only the proofs inside it let a connection through to its share.
From its acceptance to the end of the proofs every connection has one deadline and
belongs to the listener, which counts it, evicts it and ends it when it is closed;
after that it belongs to whatever the share's factory made.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, NamedTuple, Self

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.proof import (
    KNOCK_SIZE,
    NONCE_SIZE,
    NonceMemory,
    ServerProof,
    match_knock,
)
from shoal.core.limits.leniency import Leniency
from shoal.errors import PeerError, UsageError
from shoal.transport.accept import accept_forever, file_limit
from shoal.transport.listen import bind_all
from shoal.transport.sealed.half_open import MAX_HALF_OPEN, MAX_PER_ADDRESS, HalfOpen
from shoal.transport.sealed.proven import Factory, ProvenPeer, ProvenProtocol
from shoal.transport.tls.certificate import Certificates
from shoal.transport.tls.tls import TlsConnection

__all__ = ["MAX_SHARES", "PROOF_TIME", "SealedListener"]

MAX_SHARES = 64  # of one listener; every knock is tried with all of them
PROOF_TIME = 10.0  # seconds from acceptance to the end of the proofs
BACKLOG = 1024  # connections the system may hold ready, a flood's among them
LOG_PERIOD = 60.0  # seconds between two lines about strangers

_log = logging.getLogger(__name__)


class _Share(NamedTuple):
    """Hold what is registered of one share."""

    key: Hashable
    keys: Keys
    factory: Factory


class _Guest:
    """Stand for one half-open connection."""

    __slots__ = ("accepted", "host", "task", "tls")

    def __init__(self, accepted: socket.socket, host: str) -> None:
        self.accepted = accepted
        self.host = host
        self.task: asyncio.Task[None] | None = None
        self.tls: TlsConnection | None = None

    def end(self) -> None:
        """Close the connection, wherever it stands."""
        if self.tls is not None:
            self.tls.abort()
        elif self.task is not None:
            self.task.cancel()


class SealedListener:
    """Accept connections until closed, for every share that is registered."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        port: int,
        node_id: bytes,
        certificates: Certificates,
        *,
        within: float = PROOF_TIME,
        max_half_open: int = MAX_HALF_OPEN,
        max_per_address: int = MAX_PER_ADDRESS,
        leniency: Leniency | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Take over `sockets`, which listen at `port`; use `open`."""
        self.port = port
        """The same on every interface."""
        self._sockets = sockets
        self._node_id = node_id
        self._certificates = certificates
        self._within = within
        self._random_bytes = random_bytes
        self._shares: dict[Hashable, _Share] = {}
        self._nonces = NonceMemory()
        self._leniency = Leniency() if leniency is None else leniency
        # What is not for strangers is for peers and for files.
        most = min(max_half_open, file_limit() // 4)
        self._half_open: HalfOpen[_Guest] = HalfOpen(most, max_per_address)
        self._timer: asyncio.TimerHandle | None = None
        self._strangers = 0  # since the last line about them
        self._logged = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[asyncio.Task[None], _Guest | None] = {}
        self._on_done = self._forget_task
        for each in sockets:
            each.setblocking(False)
            each.listen(BACKLOG)
            self._run(accept_forever(each, self._on_accepted, self._make_room))

    @classmethod
    async def open(
        cls,
        node_id: bytes,
        certificates: Certificates,
        *,
        hosts: Sequence[str] = ("0.0.0.0",),
        port: int = 0,
        **limits: Any,
    ) -> Self:
        """Listen at `port` of all `hosts`; 0 chooses a free one.

        `limits` are those of the constructor. Raises `NetworkError` when the port
        is taken or the host is not ours.
        """
        sockets, port = bind_all(hosts, port)
        return cls(sockets, port, node_id, certificates, **limits)

    @property
    def half_open(self) -> int:
        """Return how many connections have not proven themselves yet."""
        return len(self._half_open)

    def register(self, share_key: Hashable, keys: Keys, factory: Factory) -> None:
        """Let holders of a share in; `factory` makes what has their connections.

        It is called for each of them when its proof has passed, just before ours
        is sent; see `ProvenProtocol` for what follows. Raises `UsageError` when
        there are `MAX_SHARES` already, or this one.
        """
        if len(self._shares) >= MAX_SHARES:
            raise UsageError(
                f"A node can offer {MAX_SHARES} sealed shares at a time; "
                "start another one for more."
            )
        if any(each.keys.knock == keys.knock for each in self._shares.values()):
            raise UsageError("This node offers that share already.")
        if share_key in self._shares:
            raise ValueError(f"{share_key!r} is registered")
        self._shares[share_key] = _Share(share_key, keys, factory)

    def unregister(self, share_key: Hashable) -> None:
        """Let nobody in for a share any more; connections that stand go on."""
        self._shares.pop(share_key, None)

    async def aclose(self) -> None:
        """Stop accepting and end what is half-open; the rest is not touched."""
        for task in self._tasks:
            task.cancel()
        while (guest := self._half_open.remove_oldest()) is not None:
            guest.end()
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for each in self._sockets:
                each.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # Half-open connections.

    def _on_accepted(self, accepted: socket.socket, address: tuple[str, int]) -> None:
        guest = _Guest(accepted, address[0])
        deadline = self._loop.time() + self._within
        leaving = self._half_open.admit(guest, guest.host, deadline)
        if leaving is not None:
            leaving.end()
        guest.task = self._run(self._meet(guest), guest)
        self._set_timer()

    def _make_room(self, count: int) -> int:
        """End the `count` oldest half-open connections; say how many there were."""
        ended = 0
        while ended < count and (guest := self._half_open.tighten()) is not None:
            guest.end()
            ended += 1
        return ended

    def _set_timer(self) -> None:
        deadline = self._half_open.next_deadline()
        if self._timer is None and deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        for guest in self._half_open.remove_overdue(self._loop.time()):
            guest.end()
        self._set_timer()

    def _on_stranger(self, guest: _Guest) -> None:
        """Take note of a connection that came to nothing; seldom say so."""
        self._half_open.remove(guest)
        self._strangers += 1
        now = self._loop.time()
        if now - self._logged >= LOG_PERIOD:
            _log.info("%d connections were not from holders", self._strangers)
            self._logged, self._strangers = now, 0

    def _run(
        self, work: Coroutine[Any, Any, None], guest: _Guest | None = None
    ) -> asyncio.Task[None]:
        """Start a task that ends with the listener at the latest."""
        # What is named here and kept there is memory that a flood cannot have.
        task = self._loop.create_task(work, name="shoal listener")
        self._tasks[task] = guest
        task.add_done_callback(self._on_done)
        return task

    def _forget_task(self, task: asyncio.Task[None]) -> None:
        """Close the connection of a guest that did not get as far as TLS."""
        guest = self._tasks.pop(task)
        if guest is None:
            return
        # A task that was cancelled keeps the frames it was in, and so its guest: the
        # memory of a flood would wait for the garbage collector.
        guest.task = None
        if guest.tls is None:
            guest.accepted.close()
            self._on_stranger(guest)

    # What a guest has to go through.

    async def _meet(self, guest: _Guest) -> None:
        """Read the knock; if it is a holder's, begin TLS."""
        # Exactly as many bytes as a knock has: what follows is for TLS.
        knock = bytearray(KNOCK_SIZE)
        received = 0
        try:
            while received < KNOCK_SIZE:
                room = memoryview(knock)[received:] if received else knock
                count = await self._loop.sock_recv_into(guest.accepted, room)
                if not count:
                    return
                received += count
        except OSError:
            return
        share = self._recognise(knock)
        if share is not None and self._leniency.allows(guest.host, self._loop.time()):
            tls = guest.tls = self._begin_tls(guest, share)
            await self._loop.connect_accepted_socket(lambda: tls, guest.accepted)

    def _recognise(self, knock: bytearray) -> _Share | None:
        """Return the share that a knock is for, unless it was used before."""
        shares = list(self._shares.values())
        place = match_knock([each.keys.knock for each in shares], knock)
        if place is None or not self._nonces.spend(knock):
            return None
        return shares[place]

    def _begin_tls(self, guest: _Guest, share: _Share) -> TlsConnection:
        certificate = self._certificates.current()
        nonce = self._random_bytes(NONCE_SIZE)

        def begin(tls: ssl.SSLObject) -> ServerProof:
            return ServerProof(share.keys, self._node_id, certificate.digest, nonce)

        is_proven = False

        def on_proven(peer: ProvenPeer) -> asyncio.BufferedProtocol:
            nonlocal is_proven
            is_proven = True
            self._half_open.remove(guest)
            if self._shares.get(share.key) is not share:
                raise PeerError("the share is not offered any more")
            return share.factory(peer)

        def on_failed(_: Exception | None) -> None:
            if not is_proven:  # else it is we who did not want it
                self._leniency.on_failed(guest.host, self._loop.time())
            self._on_stranger(guest)

        proven = ProvenProtocol(begin, on_proven, on_failed)
        return TlsConnection(certificate.context, proven, is_server=True)
