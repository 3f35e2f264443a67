"""A connection of qh3, as `QuicStream` uses it: with the ids of packets for it."""

from qh3._hazmat import Buffer
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ConnectionIdIssued, ConnectionIdRetired, QuicEvent
from qh3.quic.packet import QuicPacketType, pull_quic_header

from shoal.transport.quic.packets import CID_SIZE, begins
from shoal.transport.quic.tls import configuration

__all__ = ["Connection", "accepting"]


class Connection(QuicConnection):
    """A connection that can leave its events where they are, and so its window."""

    is_held = False

    def __init__(self, destination: bytes | None = None) -> None:
        """Begin as a client, or as the server of one that chose this `destination`."""
        super().__init__(
            configuration=configuration(is_client=destination is None),
            original_destination_connection_id=destination,
        )
        self.ids = {self.host_cid}
        """The destination ids of packets for this connection."""
        if destination is not None:
            self.ids.add(destination)

    def next_event(self) -> QuicEvent | None:
        """Return the next event that is not about ids."""
        while (event := super().next_event()) is not None:
            if isinstance(event, ConnectionIdIssued):
                self.ids.add(event.connection_id)
            elif isinstance(event, ConnectionIdRetired):
                self.ids.discard(event.connection_id)
            else:
                break
        return event

    def _drain_core(self) -> None:
        if not self.is_held:
            super()._drain_core()

    def release(self) -> None:
        """Take the events that were left."""
        self.is_held = False
        if self._core is not None:
            self._drain_core()


def accepting(datagram: bytes) -> Connection | None:
    """Return a server's connection for the first datagram of a client.

    None if it is another datagram: anyone can send one in the name of the client.
    """
    try:
        header = pull_quic_header(Buffer(data=datagram), CID_SIZE)
    except ValueError:
        return None
    if header.packet_type is not QuicPacketType.INITIAL or not begins(datagram):
        return None
    return Connection(header.destination_cid)
