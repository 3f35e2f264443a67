"""One connected peer of a sealed share: what it announced, and what we send it.

A `Peer` is the `Source` of a download and a peer that manifest pages are requested
from. It decides nothing: it turns calls into messages of its session.
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf

from shoal.core.limits import MAX_ORIGIN_FETCHES
from shoal.core.manifest.blocks import Run
from shoal.core.manifest.chunks import Bitfield
from shoal.core.manifest.pages import PageKey
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, is_acceptable, scope_of
from shoal.core.report.counters import Counters
from shoal.core.report.status import RELAYED, PeerStatus, PortMapping, path_of
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.sealed_messages import (
    MAX_BITFIELD,
    BitfieldPiece,
    Finished,
    Goodbye,
    Have,
    Hello,
    OriginFetch,
    Page,
    Peers,
    Refuse,
    Want,
    WrongChunk,
)
from shoal.errors import PeerError, ProtocolError
from shoal.transport.connection import Connection
from shoal.transport.sealed.proven import ProvenPeer

__all__ = ["Peer"]

# Chunks in one announcement, from which on they are handled together. The cost is then
# that of all chunks of the share.
MANY_NAMED = 512
MANY_OF = 4096  # all chunks of the share for each chunk named
MAX_PAGE_REQUESTS = 64  # requests for pages that are queued; more are not answered


class Peer:
    """Hold one conversation of a sealed share."""

    port = 0
    """The TCP port that others can dial, as the peer claims; 0 for none."""
    told_port: int | None = None
    """Our port as we have told it; None before hello."""
    have: Bitfield | None = None
    """The chunks that it announced; None until it knows the root record."""
    wanted: Bitfield | None = None
    """The chunks that it wants; None for all."""
    bits: bytearray | None = None
    """The pieces of its bitfield that have arrived; None before a hello with it."""
    is_greeted = False
    """True once it has sent hello."""
    is_told = False
    """True once we have sent it the root record and a bitfield."""
    knows_wanted = False
    """True once we have sent it the list of chunks that we want."""
    is_used = False
    """True if chunks and pages may be requested from it (docs/protocol.md, "Bans").

    Only once it has announced its chunks.
    """
    used_at = 0.0
    """Loop time from which on it may be used."""
    is_banned = False
    """True once data from it did not verify, and its connection was closed."""
    has_left = False
    """True once it has sent goodbye."""
    has_sent_chunk = False
    """True once it has sent a chunk, even one that came too late."""
    verified = 0
    """Chunks from this peer that verified."""

    def __init__(
        self,
        connection: Connection[SealedSession],
        proven: ProvenPeer,
        *,
        dialled: Address | None,
        source: str,
        mappings: Iterable[PortMapping],
        counters: Counters,
    ) -> None:
        """Start with a peer that has proven the id.

        `mappings` are the ports that the router maps. `counters` are the node's; they
        add up the bytes sent and received by `path`.
        """
        self.connection = connection
        self.node_id = proven.node_id
        """16 bytes: a claim, which any holder of the link can copy."""
        self.dialled = dialled
        """The address that we dialled; None if the peer dialled us."""
        self.is_client = dialled is not None and not proven.is_server
        """Whether we are the client, and so the end that may close a duplicate."""
        self.source = source
        """The network that reported its address."""
        host, is_crossed = proven.address.host, proven.is_crossed
        self.path = path_of(source, host, mappings=mappings, is_crossed=is_crossed)
        """How it is reached: one of `PATHS`."""
        self.wrong: set[int] = set()
        """Chunks from this peer that did not verify."""
        self._received = 0  # bytes in these
        self._sent = 0  # bytes of chunks that we sent it
        self._counters = counters
        self._page_requests: deque[PageKey] = deque()

    @property
    def last_use(self) -> float:
        """Return when it last sent or received part of a chunk; -inf for never.

        A large chunk can take long, so a peer that has sent one counts as sending for
        as long as any message arrives from it.
        """
        # The end that sends cannot know which chunks come too late, and both ends must
        # agree on which of two connections has been used.
        sent = self.connection.last_heard if self.has_sent_chunk else -inf
        return max(self.connection.last_upload, sent)

    @property
    def is_relayed(self) -> bool:
        """Return True if the connection leads through a relay."""
        return self.source == RELAYED

    @property
    def sent(self) -> int:
        """Return how many bytes of chunks we sent it."""
        return self._sent

    @property
    def address(self) -> Address:
        """Return the address to dial it at, or the one that it connected from."""
        if self.dialled is not None:
            return self.dialled
        host = self.connection.address.host
        return Address(host, self.port or self.connection.address.port)

    @property
    def endpoint(self) -> Address:
        """Return the address that other peers can dial; port 0 if there is none.

        The host is the one that we are connected with, never a name that was dialled.
        """
        port = self.dialled.port if self.dialled is not None else self.port
        return Address(self.connection.address.host, port)

    def may_know(self, other: "Peer") -> bool:
        """Return True if this peer can dial another one that we are connected with.

        A peer on the internet is not told of addresses on our private networks, and a
        link-local address is told on its link only.
        """
        host, told = self.connection.address.host, other.endpoint
        if scope_of(told.host) is Scope.LINK:
            return told.port > 0 and not self.is_relayed and is_acceptable(told, host)
        is_global = self.is_relayed or scope_of(host) is Scope.GLOBAL
        return told.port > 0 and (not is_global or scope_of(told.host) is Scope.GLOBAL)

    def close(self, error: PeerError | None = None) -> None:
        """End the connection; `error` says what the peer did wrong."""
        self.connection.close(error)

    def status(self) -> PeerStatus:
        """Return the peer's address and node, and how much was sent and received."""
        return PeerStatus(
            id(self),
            str(self.address),
            self.source,
            self.path,
            0 if self.have is None else len(self.have),
            self._received,
            self._sent,
        )

    def on_verified(self, chunks: int, size: int) -> None:
        """Count chunks, or runs of blocks, of `size` bytes that verified."""
        self.verified += chunks
        self._received += size
        self._counters.received[self.path] += size

    def on_sent(self, size: int) -> None:
        """Count `size` bytes of chunks that were sent to this peer."""
        self._sent += size
        self._counters.sent[self.path] += size

    # Chunks that it announces; `ProtocolError` if a message is not allowed.

    def begin_bitfield(self) -> None:
        """Expect the pieces of its bitfield."""
        if self.bits is not None:
            raise ProtocolError("a second bitfield")
        self.bits = bytearray()

    def add_bits(self, bits: bytes, count: int | None) -> Bitfield | None:
        """Add a piece to its bitfield of `count` chunks; return that once it is whole.

        `count` is None as long as the root record is not known.
        """
        known = self.bits
        if count is None or known is None or self.have is not None:
            raise ProtocolError("a piece of a bitfield that does not follow a hello")
        missing = -(-count // 8) - len(known)
        if len(bits) != min(missing, MAX_BITFIELD):
            raise ProtocolError(f"{len(bits)} bytes of a bitfield of {count}")
        known += bits
        if len(bits) < missing:
            return None
        try:
            self.have = Bitfield.from_bytes(bytes(known), count)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        self.bits = bytearray()
        return self.have

    def add_have(self, message: Have) -> tuple[Bitfield, list[int] | Bitfield, int]:
        """Add chunks that it announces.

        Returns its bitfield, the chunks that it had not announced before, and how many
        chunks the message names.
        """
        have = self.have
        if have is None:
            raise ProtocolError("chunks announced before a bitfield")
        wrong = "chunks announced twice, or that do not exist"
        _check_ranges(message.ranges, have.size, wrong)
        named = sum(number for _, number in message.ranges)
        if named > max(MANY_NAMED, have.size // MANY_OF):
            return have, have.add_runs(message.ranges), named
        runs = (have.add_run(*each) for each in message.ranges)
        return have, [index for run in runs for index in run], named

    def add_wanted(self, message: Want) -> None:
        """Note which chunks it wants."""
        if self.have is None or self.wanted is not None:
            raise ProtocolError("chunks wanted before a bitfield, or a second time")
        wrong = "chunks wanted twice, or that do not exist"
        _check_ranges(message.ranges, self.have.size, wrong)
        self.wanted = Bitfield(self.have.size)
        self.wanted.add_runs(message.ranges)

    def origin_indexes(self, message: OriginFetch) -> list[int]:
        """Return the chunks that it fetches from an origin; `have` must be known."""
        assert self.have is not None
        indexes: list[int] = []
        for first, number in message.ranges:
            # Checked before looping; no peer fetches so many at once.
            if (
                first + number > self.have.size
                or len(indexes) + number > MAX_ORIGIN_FETCHES
            ):
                raise ProtocolError(
                    "chunks of an origin that do not exist, or too many"
                )
            indexes.extend(range(first, first + number))
        return indexes

    # Messages that we send.

    def say_hello(self, port: int, root: bytes | None, have: Bitfield | None) -> None:
        """Send our port and, once known, the root record and the chunks we have.

        A port that changes meanwhile is told to later peers only.
        """
        if self.told_port is None:
            self.told_port = port
        port = self.told_port
        session, bits = self.connection.session, None if have is None else bytes(have)
        host, outside = self.connection.address
        is_outside = scope_of(host) is Scope.GLOBAL and not self.is_relayed
        seen = (host, outside) if is_outside else None
        if bits is None or len(bits) <= MAX_BITFIELD:
            session.send(Hello(port, root, bits, seen))
        else:
            session.send(Hello(port, root, b"", seen))
            for start in range(0, len(bits), MAX_BITFIELD):
                session.send(BitfieldPiece(bits[start : start + MAX_BITFIELD]))
        self.connection.flush()

    def announce(self, indexes: Iterable[int]) -> None:
        """Announce chunks that we have now."""
        self.connection.session.send_have(indexes)
        self.connection.flush()

    def list_wanted(self, ranges: list[tuple[int, int]]) -> None:
        """Send which chunks we want, before the first request for any of them."""
        if not self.knows_wanted:
            self.knows_wanted = True
            self.connection.session.send(Want(ranges))

    def announce_origin_requests(self, indexes: Iterable[int]) -> None:
        """Announce chunks that we are fetching from an origin.

        A peer that does not know the root record yet is not told: the indexes would
        mean nothing to it.
        """
        if self.have is not None:
            self.connection.session.send_origin_fetch(indexes)
            self.connection.flush()

    def introduce(self, addresses: Iterable[Address]) -> None:
        """Send addresses of other peers."""
        # The zone of a link-local address is a name within this machine.
        listed = [(host.partition("%")[0], port) for host, port in addresses]
        if listed:
            self.connection.session.send(Peers(listed))
            self.connection.flush()

    def say_finished(self) -> None:
        """Send that our copy of the whole share survives a power loss."""
        self.connection.session.send(Finished())
        self.connection.flush()

    def say_goodbye(self) -> None:
        """Send that we are about to leave."""
        self.connection.session.send(Goodbye())
        self.connection.flush()

    def refuse(self, index: int | None, reason: str, read: int | None = None) -> None:
        """Answer a request with a refusal; without `index`, one for any chunk.

        `read` is the number of a request for blocks.
        """
        self.connection.session.send(Refuse(index, reason, read))
        self.connection.flush()

    def report_wrong(self, index: int) -> None:
        """Send that a chunk from this peer did not verify: it checks its own copy."""
        self.connection.session.send(WrongChunk(index))
        self.connection.flush()

    def request(self, indexes: Iterable[int]) -> None:
        """Send requests for chunks."""
        for index in indexes:
            self.connection.session.request(index)
        self.connection.flush()

    def request_any(self, number: int) -> None:
        """Send requests for `number` chunks that the peer chooses."""
        for _ in range(number):
            self.connection.session.request_any()
        self.connection.flush()

    def cancel(self, indexes: Iterable[int]) -> None:
        """Cancel requests for chunks."""
        for index in indexes:
            self.connection.session.cancel(index)
        self.connection.flush()

    def request_blocks(self, run: Run, *, hashes: bool) -> int:
        """Send a request for blocks; return its number."""
        read = self.connection.session.request_blocks(run, hashes=hashes)
        self.connection.flush()
        return read

    def cancel_blocks(self, read: int) -> None:
        """Cancel a request for blocks."""
        self.connection.session.cancel_blocks(read)
        self.connection.flush()

    def request_page(self, key: PageKey) -> None:
        """Send a request for a manifest page."""
        self.connection.session.request_page(key)
        self.connection.flush()

    # Manifest pages that it requests.

    def on_page_request(self, key: PageKey) -> None:
        """Queue a request for a manifest page."""
        if len(self._page_requests) < MAX_PAGE_REQUESTS:
            self._page_requests.append(key)

    def send_pages(self, page: Callable[[PageKey], bytes | None]) -> None:
        """Send the pages it requested while its socket accepts them.

        A page that we lack is sent empty, so that the peer requests it elsewhere.
        """
        while self._page_requests and self.connection.is_writable:
            key = self._page_requests.popleft()
            self.connection.session.send(Page(*key, page(key) or b""))
            self.connection.flush()


def _check_ranges(ranges: list[tuple[int, int]], size: int, wrong: str) -> None:
    """Raise `ProtocolError` unless runs of chunks exist, in order, without overlap.

    Callers loop over the chunks afterwards: ranges could name the same ones for ever.
    """
    end = 0
    for first, number in ranges:
        if first < end or not number or first + number > size:
            raise ProtocolError(wrong)
        end = first + number
