"""What is said between this node and the peers of one sealed share.

`Conversations` owns no state of its own: it checks each message against what the peer
may say at this point and hands it to whoever keeps that: the roster, what is learnt,
what is given, what is fetched.
"""

import asyncio
from collections.abc import Callable

from shoal.core.manifest.chunks import Bitfield
from shoal.core.report.events import DownloadEvent, PeerJoined, PeerLeft
from shoal.core.session.sealed_session import SealedSession
from shoal.core.session.session import ChunkReceived, Event
from shoal.core.wire.framing import LARGE_FRAME
from shoal.core.wire.sealed_messages import (
    MAX_PULLED,
    Ask,
    Cancel,
    Goodbye,
    Have,
    Hello,
    Page,
    Peers,
    Pull,
    Reason,
    Refuse,
)
from shoal.errors import ManifestError, PeerError, ProtocolError
from shoal.resources import Means
from shoal.swarm.connections import Roster
from shoal.swarm.fetching import Fetching
from shoal.swarm.learning import Learning
from shoal.swarm.origins import Pulling
from shoal.swarm.peer import SealedPeer
from shoal.swarm.upload import Giving
from shoal.transport.connection import Connection
from shoal.transport.sealed.proven import Dial

__all__ = ["Conversations"]

NAMED_AGAIN = 100  # chunks announced again, or pulled, that cost as much as a message


class Conversations:
    """Talk to every peer of one share; the handler of its connections."""

    def __init__(
        self,
        dial: Dial,
        learning: Learning,
        giving: Giving,
        fetching: Fetching,
        pulling: Pulling,
        means: Means,
        *,
        shared: asyncio.Event,
        on_event: Callable[[DownloadEvent], None],
        on_hostile: Callable[[ManifestError], None],
    ) -> None:
        """Begin with nobody.

        `shared` is set once a peer has everything; `on_hostile` hears what is wrong
        with a root record that the id proves.
        """
        self.roster = Roster(self, dial, means, giving)
        """Who is here."""
        self._learning = learning
        self._giving = giving
        self._fetching = fetching
        self._pulling = pulling
        self._port = means.port
        self._shared = shared
        self._on_event = on_event
        self._on_hostile = on_hostile

    def say_hello(self, peer: SealedPeer) -> None:
        """Say where we are and, once known, what we have."""
        manifest = self._learning.manifest
        if manifest is None or self._giving.have is None:
            peer.say_hello(self._port, None, None)
        else:
            peer.say_hello(self._port, manifest.root_record, self._giving.have)
            self._giving.on_told_all(peer)

    # What a connection tells its handler.

    def on_connected(self, connection: Connection[SealedSession]) -> None:
        """Greet a peer."""
        manifest = self._learning.manifest
        if manifest is not None:
            connection.session.know_share(manifest.chunks, manifest.page_count)
        self.say_hello(self.roster.peers[connection])

    def on_events(
        self, connection: Connection[SealedSession], events: list[Event]
    ) -> None:
        """Act on what a peer said; what it may not say ends it."""
        peer = self.roster.peers.get(connection)
        if peer is None:
            return
        # A chunk says so itself, and a reader may wait for it; but in bulk it counts
        # how much there was.
        is_bulk = connection.found > LARGE_FRAME
        if is_bulk or ChunkReceived not in map(type, events):
            self._fetching.on_heard(peer, is_ahead=connection.is_ahead)
        try:
            for event in events:
                self._on_message(peer, event)
        except PeerError as error:
            peer.close(error)
            return
        except ManifestError as error:
            self._on_hostile(error)
            return
        if peer.has_left:
            peer.close()
            return
        self._fetching.on_answers_done(peer)
        self._giving.wake(peer)
        self._learning.tell(peer)
        # Whoever does not read what it asked for is not asked what else it wants.
        connection.flush()
        if not connection.is_writable:
            connection.pause_reading()

    def on_writable(self, connection: Connection[SealedSession]) -> None:
        """Go on giving to a peer that takes more."""
        peer = self.roster.peers.get(connection)
        if peer is not None:
            connection.resume_reading()
            self._learning.tell(peer)
            self._giving.wake(peer)

    def on_lost(
        self,
        connection: Connection[SealedSession],
        error: PeerError | OSError | None,
    ) -> None:
        """Forget a peer; ask others for what it was asked for."""
        peer = self.roster.remove(connection, error)
        if peer is None:
            return
        self._learning.remove(peer)
        self._fetching.remove(peer)
        self._giving.on_peer_left(peer)
        is_banned = self.roster.is_banned(peer.address)
        reason = str(error) if error is not None else None
        self._on_event(PeerLeft(peer.address, reason, is_banned, peer.verified))

    # What peers say.

    def _on_message(self, peer: SealedPeer, event: Event) -> None:
        match event:
            case ChunkReceived():
                self._fetching.on_chunk(peer, event)
            case Ask():
                peer.on_wanted(event)
            case Have():
                self._on_have(peer, event)
            case Pull():
                self._on_pulling(peer, event)
            case Hello():
                self._on_hello(peer, event)
            case Page(index=number, data=None):
                peer.on_page_wanted(number)
            case Page(index=number, data=bytes() as data):
                self._learning.on_page(peer, number, data)
            case Cancel(index=index):
                peer.on_cancelled(index)
            case Refuse(index=index, reason=reason):
                is_busy = reason == Reason.BUSY
                self._fetching.on_refused(peer, index, is_busy=is_busy)
            case Peers(addresses=addresses):
                self.roster.on_addresses(peer, addresses)
            case Goodbye():
                peer.has_left = True

    def _on_hello(self, peer: SealedPeer, hello: Hello) -> None:
        is_first, peer.is_greeted = not peer.is_greeted, True
        peer.port = hello.port
        if self.roster.is_banned(peer.address):
            raise PeerError("it sent what does not verify a while ago")
        if is_first:
            self._on_event(PeerJoined(peer.address, peer.source))
            self.roster.on_greeted(peer)
            self.roster.introduce(peer)
        if hello.root is None or hello.bitfield is None:
            return
        is_news = self._learning.manifest is None
        manifest = self._learning.on_root(hello.root)
        if is_news:
            self.roster.know_share(manifest)
        self._on_bitfield(peer, hello.bitfield, manifest.chunks.count)

    def _on_bitfield(self, peer: SealedPeer, bits: bytes, count: int) -> None:
        try:
            have = Bitfield.from_bytes(bits, count)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        if peer.have is not None:
            raise ProtocolError("a second bitfield")
        peer.have = have
        self._learning.add(peer)
        self._giving.on_bitfield(peer)
        if have.is_complete:
            self._shared.set()
        self._fetching.add(peer)
        self._pulling.say_to(peer)

    def _on_have(self, peer: SealedPeer, message: Have) -> None:
        if peer.have is None:
            raise ProtocolError("chunks announced before a bitfield")
        fresh: list[int] = []
        end = named = 0
        for first, number in message.ranges:
            # Checked before looping: ranges could name the same chunks for ever.
            if first < end or not number or first + number > peer.have.size:
                raise ProtocolError("chunks announced twice, or that do not exist")
            end = first + number
            named += number
            fresh += peer.have.add_run(first, number)
        # What is announced again costs as well, and could be the whole share. Once it
        # may be: whoever completes was not asked to say what we had ourselves.
        if not fresh or not peer.have.is_complete:
            peer.connection.message_limit.add((named - len(fresh)) / NAMED_AGAIN)
        self._giving.on_have(peer, fresh)
        if peer.have.is_complete:
            self._shared.set()
        self._fetching.on_have(peer, fresh)

    def _on_pulling(self, peer: SealedPeer, message: Pull) -> None:
        if peer.have is None:
            return  # it may be ahead of us
        indexes: list[int] = []
        for first, number in message.ranges:
            # Checked before looping, as above; nobody pulls so many at once.
            if first + number > peer.have.size or len(indexes) + number > MAX_PULLED:
                raise ProtocolError("chunks pulled that do not exist, or too many")
            indexes.extend(range(first, first + number))
        peer.connection.message_limit.add(len(indexes) / NAMED_AGAIN)
        self._pulling.on_pulling(peer, indexes)
