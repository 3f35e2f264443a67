"""Act on what the peers of one sealed share send.

`Dispatcher` is the handler of every connection of the share. It checks each message
against what the peer may send at this point (docs/protocol.md, "Sealed messages") and
passes it to the owner of the state concerned: the connections, the manifest, the
upload, the download or the origins.
"""

import asyncio
from collections.abc import Callable, Iterable

from shoal.core.limits import work_of
from shoal.core.manifest.chunks import Bitfield
from shoal.core.report.events import DownloadEvent, PeerJoined, PeerLeft
from shoal.core.session.events import AnyChunk, BlocksReceived, Event
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.sealed_messages import (
    MAX_BITFIELD,
    MAX_RANGES,
    BitfieldPiece,
    BlockRequest,
    Cancel,
    Finished,
    Goodbye,
    Have,
    Hello,
    Meeting,
    OriginFetch,
    Page,
    Peers,
    Reason,
    Refuse,
    SealedRequest,
    Want,
    WrongChunk,
)
from shoal.errors import ManifestError, PeerError, ProtocolError
from shoal.origin.source import Origin
from shoal.resources import Resources
from shoal.swarm.completed import CompletePeers
from shoal.swarm.connections import Connections
from shoal.swarm.introductions import Introductions, note_seen
from shoal.swarm.manifest_fetcher import ManifestFetcher
from shoal.swarm.origins import Origins
from shoal.swarm.peer import Peer
from shoal.swarm.upload import Upload
from shoal.transfer.block_fetcher import BlockFetcher
from shoal.transfer.conditions import Conditions
from shoal.transfer.download import Download
from shoal.transport.connection import Connection
from shoal.transport.sealed.proven import Dial

__all__ = ["Dispatcher"]

# A peer that lacks chunks dials newly learned addresses at once. So one that has all
# of them waits: two that dial each other waste a handshake when there is most to do.
COMPLETE_WAIT = 1.0  # seconds until a complete node dials an address from a peer


class Dispatcher:
    """Pass the messages of every peer to the parts of a swarm."""

    def __init__(
        self,
        pages: ManifestFetcher[Peer],
        dial: Dial,
        resources: Resources,
        *,
        node_id: bytes,
        port: int,
        waiting: Conditions,
        completed: CompletePeers,
        on_event: Callable[[DownloadEvent], None],
    ) -> None:
        """Start with no connection.

        `port` is ours, for the peers' hellos. `waiting` fails if the root record is
        hostile; `completed` counts the peers that have finished.
        """
        self.connections = Connections(self, dial, resources, node_id)
        """The connected peers."""
        self.upload: Upload | None = None
        """None until there is something to serve."""
        self.download: Download[Peer | Origin] | None = None
        """None until there is something to fetch."""
        self.wanted: list[tuple[int, int]] | None = None
        """Runs of chunks that are fetched, as in `have`; None if all are."""
        self.origins: Origins | None = None
        """None until there is something to fetch."""
        self.blocks: BlockFetcher[Peer] | None = None
        """None until a reader needs blocks."""
        self.is_finished = False
        """True once our copy of the whole share survives a power loss."""
        self._pages = pages
        self._networks = resources.networks
        self._port = port
        self._introductions = Introductions(self.connections)
        self._waiting = waiting
        self._completed = completed
        self._on_event = on_event
        self._clock = asyncio.get_running_loop().time

    def say_hello(self, peer: Peer) -> None:
        """Send our port and, once known, the root record and the chunks we have.

        A node that knows the root record announces an empty bitfield until it has a
        store, because peers request manifest pages only after a bitfield.
        """
        manifest, upload = self._pages.manifest, self.upload
        # At the address of a relay, others would not find us.
        host = peer.connection.address.host
        port = 0 if peer.is_relayed else self._networks.port_for(self._port, host)
        if manifest is None:
            peer.say_hello(port, None, None)
            return
        none = Bitfield(manifest.chunks.count)
        have = none if upload is None else upload.have
        if peer.is_told:
            peer.announce(have)
        else:
            peer.say_hello(port, manifest.root_record, have)
            peer.is_told = True
            if self.is_finished:
                peer.say_finished()
        if upload is not None:
            upload.on_hello_sent(peer)

    def finish(self) -> None:
        """Tell every peer, now and later, that we have finished."""
        self.is_finished = True
        for peer in self.connections:
            if peer.is_told:
                peer.say_finished()

    def request_from(self, peer: Peer) -> None:
        """Download from a peer, if it has announced its chunks and may be used."""
        if self.blocks is not None and peer.have is not None and peer.is_used:
            self.blocks.add(peer, peer.have)
        if self.download is not None and peer.have is not None and peer.is_used:
            have = Bitfield.from_bytes(bytes(peer.have), peer.have.size)
            can_choose = self.wanted is None or len(self.wanted) <= MAX_RANGES
            if self.wanted is not None and can_choose and have.is_complete:
                peer.list_wanted(self.wanted)
            self.download.add(
                peer, have, can_choose=can_choose, most=MAX_QUEUED_REQUESTS
            )

    # What a connection reports to its handler.

    def on_connected(self, connection: Connection[SealedSession]) -> None:
        """Greet a peer."""
        manifest = self._pages.manifest
        if manifest is not None:
            connection.session.know_share(manifest.chunks, manifest.root.may_have_page)
        self.say_hello(self.connections.peers[connection])

    def on_events(
        self, connection: Connection[SealedSession], events: list[Event]
    ) -> None:
        """Act on a peer's messages; one that is not allowed ends the connection."""
        peer = self.connections.peers.get(connection)
        if peer is None:
            return
        chunks = [event for event in events if isinstance(event, AnyChunk)]
        self._on_read(peer, chunks)
        has_messages = len(chunks) < len(events)
        try:
            for event in events if has_messages else ():
                self._on_message(peer, event)
        except PeerError as error:
            peer.close(error)
            return
        except ManifestError as error:
            self._waiting.fail(error)
            return
        if peer.has_left:
            peer.close()
            return
        if events and self.download is not None:
            self.download.on_answers_done(peer)
        if has_messages:
            self._send_due(peer)

    def _on_read(self, peer: Peer, chunks: list[AnyChunk]) -> None:
        """Note that bytes arrived from a peer, and which chunks in them."""
        if chunks:
            peer.has_sent_chunk = True
        if self.download is not None:
            is_ahead = peer.connection.is_ahead
            self.download.on_read(peer, chunks, is_ahead=is_ahead)
        if self.blocks is not None:
            self.blocks.on_heard(peer)

    def _send_due(self, peer: Peer) -> None:
        """Send the chunks and pages that a peer requested, while its socket accepts."""
        if self.upload is not None:
            self.upload.serve(peer)
        if self._pages.manifest is not None:
            peer.send_pages(self._pages.manifest.page)

    def on_writable(self, connection: Connection[SealedSession]) -> None:
        """Send more to a peer whose socket accepts more."""
        peer = self.connections.peers.get(connection)
        if peer is not None:
            self._send_due(peer)

    def on_lost(
        self,
        connection: Connection[SealedSession],
        error: PeerError | OSError | None,
    ) -> None:
        """Forget a peer, and request from others what it was asked for."""
        peer = self.connections.remove(connection, error)
        if peer is None:
            return
        self._pages.remove(peer, self._clock())
        self._stop_requesting(peer)
        if self.upload is not None:
            self.upload.remove(peer)
        if peer.is_banned:
            self._stop_using(self.connections.neighbours_of_liar(peer))
        if peer.is_greeted:  # and so reported as joined
            reason = str(error) if error is not None else None
            # The port that a liar claims may be that of its neighbour.
            is_claim = peer.is_banned and peer.dialled is None
            self._on_event(
                PeerLeft(
                    peer.connection.address if is_claim else peer.address,
                    reason,
                    peer.is_banned,
                    peer.verified,
                    self._bytes_at(peer),
                    peer.sent,
                )
            )

    def _bytes_at(self, peer: Peer) -> int:
        """Return how many bytes of the share a peer has announced."""
        manifest = self._pages.manifest
        if manifest is None or peer.have is None:
            return 0
        return manifest.chunks.size_of(len(peer.have))

    # Messages.

    def _on_message(self, peer: Peer, event: Event) -> None:
        match event:
            case SealedRequest():
                self._on_request(peer, event)
            case Have():
                self._on_have(peer, event)
            case OriginFetch():
                self._on_origin_requests(peer, event)
            case Want():
                peer.add_wanted(event)
            case Hello():
                self._on_hello(peer, event)
            case BitfieldPiece(bits=bits):
                self._on_bitfield(peer, bits)
            case Page(key=key, data=None):
                peer.on_page_request(key)
            case Page(key=key, data=bytes() as data):
                self._pages.on_page(peer, key, data, self._clock())
            case BlockRequest():
                self._on_block_request(peer, event)
            case BlocksReceived():
                if self.blocks is not None:
                    self.blocks.on_blocks(peer, event)
            case Cancel():
                if self.upload is not None:
                    self.upload.on_cancel(peer, event)
            case Refuse(read=int() as read, reason=reason):
                if self.blocks is not None:
                    is_busy = reason == Reason.BUSY
                    self.blocks.on_refused(peer, read, is_busy=is_busy)
            case Refuse(index=index, reason=reason):
                if self.download is not None:
                    is_busy = reason == Reason.BUSY
                    self.download.scheduler.on_refused(
                        peer, index, self._clock(), is_busy=is_busy
                    )
            case Peers(addresses=addresses):
                is_complete = self.upload is not None and self.upload.is_complete
                wait = COMPLETE_WAIT if is_complete else 0.0
                self.connections.add_addresses(peer, addresses, wait)
            case Meeting():
                self.connections.meet(peer, event)
            case WrongChunk(index=index):
                if self.upload is not None:
                    self.upload.on_wrong(index)
            case Finished():
                self._completed.add(peer, self._bytes_at(peer))
            case Goodbye():
                peer.has_left = True

    def _on_request(self, peer: Peer, request: SealedRequest) -> None:
        if self.upload is not None:
            self.upload.on_request(peer, request)
        elif request.index is None:
            peer.refuse(None, Reason.NOTHING)
        else:
            peer.refuse(request.index, Reason.MISSING)

    def _on_block_request(self, peer: Peer, request: BlockRequest) -> None:
        if self.upload is not None:
            self.upload.on_block_request(peer, request)
        else:
            peer.refuse(request.index, Reason.MISSING, request.read)

    def _on_hello(self, peer: Peer, hello: Hello) -> None:
        is_first = not peer.is_greeted
        if not is_first and hello.port != peer.port:
            raise ProtocolError("a second hello with another port")
        peer.port = 0 if peer.is_relayed else hello.port
        if self.connections.is_banned(peer):
            raise PeerError("it sent data that did not verify a while ago")
        if is_first:
            peer.is_greeted = True
            note_seen(peer, hello, self._port, self._networks)
            self._on_event(PeerJoined(peer.address, peer.source, peer.path))
            self.connections.on_greeted(peer)
            self._introductions.introduce(peer)
        if hello.root is None or hello.bitfield is None:
            return
        is_news = self._pages.manifest is None
        manifest = self._pages.on_root(hello.root)
        if is_news:
            self.connections.know_share(manifest)
            for each in self.connections:
                self.say_hello(each)
        peer.begin_bitfield()
        if -(-manifest.chunks.count // 8) <= MAX_BITFIELD:
            self._on_bitfield(peer, hello.bitfield)
        elif hello.bitfield:
            raise ProtocolError("a part of a bitfield in a hello")

    def _on_bitfield(self, peer: Peer, bits: bytes) -> None:
        """Add the bits of a hello, or of a piece that follows one, to a bitfield."""
        manifest = self._pages.manifest
        have = peer.add_bits(bits, None if manifest is None else manifest.chunks.count)
        if have is None:
            return
        if self.upload is not None:
            self.upload.on_bitfield(peer, have)
        self._try_peer(peer)
        if self.origins is not None:
            self.origins.announce_to(peer)

    def _try_peer(self, peer: Peer) -> None:
        """Request chunks and pages from a peer, unless another one is used instead."""
        if self.connections.may_try(peer):
            peer.is_used, peer.used_at = True, self._clock()
            self._pages.add(peer, self._clock())
            self.request_from(peer)

    def _stop_using(self, peers: Iterable[Peer]) -> None:
        for peer in peers:
            peer.is_used = False
            self._pages.remove(peer, self._clock())
            self._stop_requesting(peer)

    def _stop_requesting(self, peer: Peer) -> None:
        """Request from other peers what this one was asked for."""
        if self.download is not None:
            self.download.remove(peer)
        if self.blocks is not None:
            self.blocks.remove(peer)

    def try_peers(self) -> None:
        """Use peers that were not used at first, as far as that is allowed now.

        Those that we dialled come first: a liar that dials us has any number of ports.
        """
        for peer in sorted(self.connections, key=lambda each: each.dialled is None):
            if peer.have is not None and not peer.is_used:
                self._try_peer(peer)

    def _on_have(self, peer: Peer, message: Have) -> None:
        have, fresh, named = peer.add_have(message)
        # Announcing chunks again costs us time, and a message can name the whole share.
        # A peer may do that once, when it completes: it does not know what we have.
        again = 0 if fresh and have.is_complete else named - len(fresh)
        all_chunks = have.size if isinstance(fresh, Bitfield) else 0
        work = work_of(len(message.ranges), again, all_chunks)
        peer.connection.message_limit.add(work)
        if self.upload is not None:
            self.upload.on_have(peer, fresh)
        if self.download is not None:
            self.download.on_have(peer, fresh)
        if self.blocks is not None:
            self.blocks.on_have()

    def _on_origin_requests(self, peer: Peer, message: OriginFetch) -> None:
        if peer.have is None:
            return  # it may know the root record before us
        indexes = peer.origin_indexes(message)
        peer.connection.message_limit.add(work_of(len(message.ranges), len(indexes)))
        if self.origins is not None:
            self.origins.on_peer_requests(peer, indexes)
