"""One peer of a sealed share: what it has, and what it wants of us.

The same peer gives (`Giver`, `PageGiver`) and takes (`Taker`). It decides nothing
that concerns others: which chunk "any" is, is the swarm's to say.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from math import inf
from typing import Protocol

from shoal.core.manifest.chunks import Bitfield
from shoal.core.names.address import Address
from shoal.core.report.counters import Tally
from shoal.core.report.status import PeerStatus
from shoal.core.session.request_queue import Wants
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.messages import response_header
from shoal.core.wire.sealed_messages import (
    Ask,
    Goodbye,
    Hello,
    Page,
    Peers,
    Reason,
    Refuse,
)
from shoal.errors import PeerError
from shoal.transfer.responses import write_chunks
from shoal.transport.connection import Connection

__all__ = ["Offers", "SealedPeer"]

FIRST_PART = 32 * 1024  # bytes of a lone chunk that are sent before the rest
MOST_PARTED = 256 * 1024  # bytes; beside those of a longer one waking up takes little
MAX_PAGES_WANTED = 64  # requests for pages that are kept; more are not answered


class Offers(Protocol):
    """Know what we have, for those who want some of it."""

    @property
    def is_whole(self) -> bool:
        """Say whether everything is here."""

    def has(self, index: int) -> bool:
        """Say whether a chunk can be given."""

    def choose(self, peer: "SealedPeer") -> int | None:
        """Return the chunk that a peer should be given when any will do."""

    def on_given(self, peer: "SealedPeer", index: int) -> None:
        """Note a chunk on its way that the peer chose."""

    def on_served(self, peer: "SealedPeer") -> None:
        """Note that the peer may wait for nothing more."""

    def on_gone(self, index: int, error: Exception) -> None:
        """Note that a chunk cannot be given any more, and why."""


class SealedPeer:
    """Hold one conversation of a sealed share."""

    def __init__(
        self,
        connection: Connection[SealedSession],
        node_id: bytes,
        *,
        dialled: Address | None,
        source: str,
        path: str,
        giving: "Offers",
        tally: Tally,
    ) -> None:
        """Begin; `giving` knows what we have, `tally` counts what is moved."""
        self.connection = connection
        self.node_id = node_id
        """A claim that any holder can copy."""
        self.dialled = dialled
        """The address that we dialled; None when the peer did."""
        self.source = source
        """The network that reported it."""
        self.path = path
        """How it was found, as one of `PATHS`."""
        self.port = 0
        """TCP port that others may dial, as it says."""
        self.have: Bitfield | None = None
        """What it announced; None before it knows the root record."""
        self.verified = 0
        """Chunks that it gave and that verified."""
        self.uploaded = 0
        """Chunks that it was given."""
        self._received = 0  # bytes, verified
        self._sent = 0  # bytes
        self._tally = tally
        self.is_greeted = False
        """Whether it has said hello."""
        self.has_left = False
        """Whether it has said goodbye."""
        self._giving = giving
        self._wants = Wants()
        self._pages_wanted: deque[int] = deque()
        self._chosen: set[Hashable] = set()  # by us, not sent yet

    @property
    def last_use(self) -> float:
        """Return when it last gave or took some of a chunk; -inf for never.

        A large one may take long, so who has given some does for as long as it says
        anything.
        """
        given = self.connection.last_heard if self.verified else -inf
        return max(self.connection.last_taken, given)

    @property
    def address(self) -> Address:
        """Return where it can be dialled, or else where it came from."""
        if self.dialled is not None:
            return self.dialled
        host = self.connection.address.host
        return Address(host, self.port or self.connection.address.port)

    def close(self, error: PeerError | None = None) -> None:
        """End the conversation."""
        self.connection.close(error)

    def status(self) -> PeerStatus:
        """Return who it is and what it gave and took."""
        return PeerStatus(
            id(self),
            str(self.address),
            self.source,
            self.path,
            0 if self.have is None else len(self.have),
            self._received,
            self._sent,
        )

    # What we say.

    def say_hello(self, port: int, root: bytes | None, have: Bitfield | None) -> None:
        """Say where we are and, once known, what we have."""
        known = None if have is None else bytes(have)
        self.connection.session.send(Hello(port, root, known))
        self.connection.flush()

    def announce(self, indexes: Iterable[int]) -> None:
        """Say which chunks are here since."""
        self.connection.session.send_have(indexes)
        self.connection.flush()

    def say_pulling(self, indexes: Iterable[int]) -> None:
        """Say which chunks are asked of an origin, once it knows what chunks are."""
        if self.have is not None:
            self.connection.session.send_pulling(indexes)
            self.connection.flush()

    def introduce(self, addresses: Iterable[Address]) -> None:
        """Pass on addresses of other peers."""
        listed = [(address.host, address.port) for address in addresses]
        if listed:
            self.connection.session.send(Peers(listed))
            self.connection.flush()

    def say_goodbye(self) -> None:
        """Say that we are about to leave."""
        self.connection.session.send(Goodbye())
        self.connection.flush()

    # What it gives.

    def ask(self, indexes: Iterable[int]) -> None:
        """Send requests for chunks."""
        for index in indexes:
            self.connection.session.request(index)
        self.connection.flush()

    def ask_any(self, number: int) -> None:
        """Send requests for as many chunks, which ones is up to it."""
        for _ in range(number):
            self.connection.session.request_any()
        self.connection.flush()

    def cancel(self, indexes: Iterable[int]) -> None:
        """Take requests back."""
        for index in indexes:
            self.connection.session.cancel(index)
        self.connection.flush()

    def ask_page(self, number: int) -> None:
        """Send a request for a manifest page."""
        self.connection.session.request_page(number)
        self.connection.flush()

    def on_verified(self, size: int) -> None:
        """Note a chunk of `size` bytes that it gave and that verified."""
        self.verified += 1
        self._received += size
        self._tally.received[self.path] += size

    # What it takes.

    def on_page_wanted(self, number: int) -> None:
        """Queue a request for a manifest page."""
        if len(self._pages_wanted) < MAX_PAGES_WANTED:
            self._pages_wanted.append(number)

    def give_pages(self, page: Callable[[int], bytes | None]) -> None:
        """Send the pages it asked for, for as long as its socket takes them.

        One that is not here is sent without its bytes, so that it asks others.
        """
        while self._pages_wanted and self.connection.is_writable:
            number = self._pages_wanted.popleft()
            self.connection.session.send(Page(number, page(number) or b""))
            self.connection.flush()

    def on_wanted(self, ask: Ask) -> None:
        """Queue what it asks for, or refuse."""
        reason = self._wants.add(ask.index, self._giving.has)
        if reason is not None:
            self._refuse(ask.index, reason)

    def on_cancelled(self, index: int) -> None:
        """Forget what it wants no more."""
        self._wants.cancel(index)

    @property
    def has_wants(self) -> bool:
        """Say whether it still waits for something."""
        return bool(self._wants)

    @property
    def lone_want(self) -> int | None:
        """Return the chunk that it wants, if it is one of its choice and no more."""
        return self._wants.lone

    @property
    def is_taking(self) -> bool:
        """Say whether it waits for something, or for what was sent to arrive."""
        return self.has_wants or not self.is_writable

    @property
    def is_writable(self) -> bool:
        """Say whether more may be sent without piling up."""
        return self.connection.is_writable

    def next_wants(self, limit: int) -> list[tuple[int, Hashable]]:
        """Return what to send it now; "any" is decided here, as late as can be."""
        wants: list[tuple[int, Hashable]] = []
        while self._wants and len(wants) < limit:
            index, was_any = self._wants.take(lambda: self._giving.choose(self))
            if index is None:
                self._refuse(None, Reason.NOTHING)
                continue
            if was_any:
                self._chosen.add(index)
            else:
                self._giving.on_given(self, index)
            wants.append((index, index))
        return wants

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        """Send chunks."""
        write_chunks(self.connection, chunks)
        self._chosen.difference_update(index for index, _ in chunks)
        self._count_given(len(chunks), sum(len(data) for _, data in chunks))

    def give(self, index: int, data: bytes) -> None:
        """Send the one chunk that it wants, without `next_wants`.

        In two parts: it wakes up for the first while the second is encrypted.
        """
        self._wants.cancel(index)
        self.connection.on_answered(1)
        header = response_header(index, len(data))
        if len(data) > MOST_PARTED:
            self.connection.writelines((header, data))
        else:
            self.connection.write(header + data[:FIRST_PART])
            if len(data) > FIRST_PART:
                self.connection.write(memoryview(data)[FIRST_PART:])
        self._giving.on_given(self, index)
        self._count_given(1, len(data))

    def _count_given(self, chunks: int, size: int) -> None:
        self.uploaded += chunks
        self._sent += size
        self._tally.sent[self.path] += size
        self._giving.on_served(self)

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        """Say that chunks which were wanted cannot be given."""
        for index in notes:
            assert isinstance(index, int)
            self._giving.on_gone(index, error)
            if index in self._chosen:
                self._chosen.discard(index)
                self._refuse(None, Reason.NOTHING)
            else:
                self._refuse(index, Reason.MISSING)
        self._giving.on_served(self)

    def _refuse(self, index: int | None, reason: str) -> None:
        self.connection.session.send(Refuse(index, reason))
        self.connection.flush()
