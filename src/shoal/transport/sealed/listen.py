"""Listen for peers of sealed shares: one port for all the shares of a node.

This is the server's side of docs/protocol.md, "Sealed transport". A client that does
not know the id of any share gets no answer, not one byte: exactly one knock is read
from the raw socket, and one that no share opens closes it. The client may have recorded
a right knock elsewhere, so only its confirmation lets a connection through to its
share. From its acceptance to the confirmation every connection has one deadline and
belongs to the listener, which counts, evicts and ends it; after that it belongs to the
protocol that the share's factory made.
"""

import asyncio
import logging
import socket
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import (
    CONFIRMATION_SIZE,
    KNOCK_SIZE,
    KnockMemory,
    ServerHandshake,
    handshake_start,
)
from shoal.core.crypto.noise import Opened, Start, open_first
from shoal.core.host_limits import MAX_HALF_OPEN, HalfOpen, HostLimit
from shoal.core.names.address import Address
from shoal.errors import PeerError, UsageError
from shoal.net.socket_names import host_of
from shoal.transport.listen import PortListener, file_limit
from shoal.transport.sealed.noise import NoiseConnection
from shoal.transport.sealed.proven import Factory, ProvenPeer

__all__ = ["MAX_SHARES", "PROOF_TIME", "SealedListener"]

MAX_SHARES = 10_000  # per listener; trying a knock with all of them takes 70 ms
_FULL = (
    f"A node can offer {MAX_SHARES} sealed shares at a time; start another one for "
    "more."
)
# docs/protocol.md, "Sealed transport", allows 10 s up to the confirmation.
PROOF_TIME = 10.0  # seconds from acceptance
TRIES = 128  # shares that a knock is tried with before other tasks run: 1 ms
BACKLOG = 1024  # connections the system may hold ready, those of a flood included
LOG_PERIOD = 60.0  # seconds between two log lines about strangers

_log = logging.getLogger(__name__)


class _Share(NamedTuple):
    """Hold the registration of one share."""

    keys: Keys
    start: Start
    factory: Factory
    yields: bool


class _Stranger:
    """Hold one half-open connection."""

    __slots__ = ("accepted", "host", "is_proven", "task")

    def __init__(self, accepted: socket.socket, host: str) -> None:
        self.accepted = accepted
        self.host = host
        self.task: asyncio.Task[None] | None = None
        self.is_proven = False  # it belongs to the protocol of its share

    def end(self) -> None:
        """Close the connection, whichever step it has reached."""
        if self.task is not None:
            self.task.cancel()


class SealedListener(PortListener[_Stranger]):
    """Accept connections for every registered share until closed."""

    backlog = BACKLOG

    def __init__(
        self,
        node_id: bytes,
        *,
        hosts: Sequence[str],
        port: int = 0,
        threads: Executor | None = None,
        within: float = PROOF_TIME,
        max_half_open: int = MAX_HALF_OPEN,
        handshake_limit: HostLimit | None = None,
    ) -> None:
        """Listen at `port` of all `hosts`; port 0 chooses a free one.

        Large amounts of data are encrypted in `threads`. Raises as `bind_all` does.
        """
        super().__init__(hosts, port)
        self._node_id = node_id
        self.threads = threads
        """Where large amounts of data are encrypted."""
        self._within = within
        self._shares: dict[bytes, _Share] = {}  # by psk
        self.knocks = KnockMemory()
        """The right knocks that this node has received at any connection."""
        self._trying = asyncio.Lock()
        self._handshake_limit = (
            HostLimit() if handshake_limit is None else handshake_limit
        )
        # The remaining descriptors are for peers and files.
        most = min(max_half_open, file_limit() // 4)
        self._half_open: HalfOpen[_Stranger] = HalfOpen(most)
        self._timer: asyncio.TimerHandle | None = None
        self._uncounted: set[bytes] = set()  # fetches, by the keys of `_shares`
        self._strangers = 0  # ended since the last log line
        self._logged = float("-inf")

    @property
    def half_open(self) -> int:
        """Return how many connections have not confirmed their knock yet."""
        return len(self._half_open)

    def register(
        self,
        keys: Keys,
        factory: Factory,
        *,
        yields: bool = False,
        is_counted: bool = True,
    ) -> None:
        """Accept holders of a share; `factory` makes their connections' protocols.

        The factory is called when a client has proven that it knows the id. Its
        protocol gets plain bytes, from the first one after the handshake on. A
        registration that `yields` gives way to another of the same share, now or later:
        its owner dials peers itself and can do without inbound connections. Raises
        `UsageError` if the share is registered already or there are `MAX_SHARES`, among
        which it counts only with `is_counted`.
        """
        other = self._shares.get(keys.psk)
        if other is None and is_counted and self._is_full:
            problem = _FULL
        elif other is not None and (yields or not other.yields):
            problem = (
                "This node already offers that share; use that one, or stop it first."
            )
        else:
            start = handshake_start(keys)
            self._shares[keys.psk] = _Share(keys, start, factory, yields)
            if not is_counted:
                self._uncounted.add(keys.psk)
            return
        if not yields:
            raise UsageError(problem)

    def is_registered(self, keys: Keys) -> bool:
        """Return True if holders of a share, or of the keys of a code, are accepted."""
        return keys.psk in self._shares

    def check_room(self) -> None:
        """Raise `UsageError` if there are `MAX_SHARES`."""
        if self._is_full:
            raise UsageError(_FULL)

    @property
    def _is_full(self) -> bool:
        return len(self._shares) - len(self._uncounted) >= MAX_SHARES

    def unregister(self, keys: Keys, factory: Factory) -> None:
        """Accept no more holders of a share if `factory` makes its connections.

        Established connections stay.
        """
        share = self._shares.get(keys.psk)
        if share is not None and share.factory == factory:
            del self._shares[keys.psk]
            self._uncounted.discard(keys.psk)

    def keys_of_shares(self) -> Collection[bytes]:
        """Return the psk of every registered share."""
        return self._shares.keys()

    def factory_of(self, psk: bytes) -> Factory | None:
        """Return what makes the connections of a share; None if it is withdrawn."""
        share = self._shares.get(psk)
        return None if share is None else share.factory

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
            _log.info(
                "%d connections were not from peers with the link", self._strangers
            )
            self._logged, self._strangers = now, 0

    def _on_task_done(self, task: asyncio.Task[None], connection: _Stranger) -> None:
        """Close the connection of a client that was not proven."""
        # A cancelled task keeps its frames, and so the stranger: without this, only the
        # garbage collector would free the memory of a flood.
        connection.task = None
        if not connection.is_proven:
            connection.accepted.close()
            self._on_refused(connection)

    # The steps of docs/protocol.md, "Sealed transport", as the server.

    async def _meet(self, stranger: _Stranger) -> None:
        """Run the handshake; the end of this task closes a client that failed it."""
        knock = await self._receive(stranger, KNOCK_SIZE)
        found = None if knock is None else await self._recognise(knock)
        now = self._loop.time()
        if found is None or not self._handshake_limit.allows(stranger.host, now):
            return
        share, opened = found
        try:
            await self._admit(stranger, share, ServerHandshake(opened, self._node_id))
        except (OSError, PeerError):
            stranger.accepted.close()  # a stranger's fault is not reported
        finally:
            if not stranger.is_proven:
                self._handshake_limit.add(stranger.host, self._loop.time())

    async def _admit(
        self, stranger: _Stranger, share: _Share, handshake: ServerHandshake
    ) -> None:
        """Answer a knock, and pass the confirmed connection to its share."""
        await self._loop.sock_sendall(stranger.accepted, handshake.reply)
        confirmation = await self._receive(stranger, CONFIRMATION_SIZE)
        if confirmation is None:
            return
        greeted = handshake.finish(confirmation)
        name = stranger.accepted.getpeername()
        address = Address(host_of(name), name[1])
        peer = ProvenPeer(address, greeted.node_id, greeted.version)

        self._half_open.remove(stranger)
        stranger.is_proven = True
        noise = NoiseConnection(
            greeted.ciphers, lambda: self._pass_to(share, peer), self.threads
        )
        await self._loop.connect_accepted_socket(lambda: noise, stranger.accepted)

    def _pass_to(self, share: _Share, peer: ProvenPeer) -> asyncio.BufferedProtocol:
        """Return the protocol for a proven peer; raises `PeerError` to refuse it."""
        # The share may have been withdrawn during the handshake.
        if self._shares.get(share.keys.psk) is not share:
            raise PeerError("the share is no longer shared")
        return share.factory(peer)

    async def _receive(self, stranger: _Stranger, size: int) -> bytes | None:
        """Return the next `size` bytes and read no more; None if it closes before."""
        received = bytearray(size)
        filled = 0
        try:
            while filled < size:
                room = memoryview(received)[filled:]
                count = await self._loop.sock_recv_into(stranger.accepted, room)
                if not count:
                    return None
                filled += count
        except OSError:
            return None
        return bytes(received)

    async def _recognise(self, knock: bytes) -> tuple[_Share, Opened] | None:
        """Return the share that a knock is for, None if it is wrong or repeated.

        Every share is tried, even after one that fits, so that the time reveals
        nothing. A node with many shares tries one knock at a time, and lets other tasks
        run in between: a flood of knocks delays only other knocks.
        """
        found = None
        async with self._trying:
            for number, share in enumerate(list(self._shares.values()), 1):
                opened = open_first(share.start, knock)
                if opened is not None:
                    found = share, opened
                if number % TRIES == 0:
                    await asyncio.sleep(0)
        if found is None or not self.knocks.spend(found[1].ephemeral):
            return None
        return found
