"""Dial and accept peers over the UDP socket that the DHT uses, too.

Its address on the internet is what the nodes of the DHT report, so peers that find it
there can send to it. A datagram belongs to the connection that has its source and its
destination id; one of 48 bytes may begin one (`core.punches`); all others are left to
the DHT. So a stranger gets no byte, whatever it sends. Two nodes have a connection for
each share.
"""

import asyncio
from collections.abc import Callable, Collection, Hashable
from random import SystemRandom
from typing import TYPE_CHECKING, NamedTuple

from shoal.core.crypto.knock import KnockMemory
from shoal.core.crypto.udp_knock import DATAGRAM_SIZE
from shoal.core.host_limits import HostLimit
from shoal.core.names.address import Address
from shoal.core.names.address_scope import host_key
from shoal.core.places import first_of_crowd
from shoal.core.punches import PUNCH_TIME, Met, Punches
from shoal.errors import PeerError, PeerTimeoutError
from shoal.transport.quic.packets import end_of_run

if TYPE_CHECKING:  # it imports qh3, which takes long
    from shoal.transport.quic.stream import QuicStream

__all__ = ["Accept", "Make", "QuicEndpoint", "SendTo"]

MAX_ACCEPTED = 256  # connections that peers have dialled
# The handshake of QUIC costs 2.6 ms, and comes before the peer has a place in a swarm.
ACCEPT_BURST = 32.0  # connections of one host at once
ACCEPT_RATE = 4.0  # connections of one host per second

SendTo = Callable[[list[bytes], Address], None]
"""Send datagrams to an address."""
Accept = Callable[[Address, bytes], asyncio.BufferedProtocol]
"""Make the protocol of a peer that dialled us, which knows the id of a share."""
Make = Callable[[bool], asyncio.BufferedProtocol]
"""Make the protocol of a dialled peer, as a client if True, or else as a server."""


class _Dial(NamedTuple):
    psk: bytes
    make: Make
    made: "asyncio.Future[QuicStream]"


class QuicEndpoint:
    """Own the QUIC connections of a node, and those that are about to be made."""

    def __init__(
        self,
        send: SendTo,
        shares: Callable[[], Collection[bytes]],
        accept: Accept,
        knocks: KnockMemory,
    ) -> None:
        """Accept peers of `shares`, which returns their keys."""
        self._send = send
        self._shares = shares
        self._accept = accept
        self._loop = asyncio.get_running_loop()
        self._punches = Punches(SystemRandom(), knocks)
        self._streams: dict[Address, dict[bytes, QuicStream]] = {}  # by the psk
        self._dialled: dict[Address, _Dial] = {}
        self._accepted: dict[QuicStream, Address] = {}  # the oldest first
        self._arrivals = HostLimit(ACCEPT_BURST, ACCEPT_RATE)
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def dial(self, address: Address, psk: bytes, make: Make) -> "QuicStream":
        """Connect with a peer that knocks, too, or accepts our knock.

        The protocol that `make` returns is told once the connection is made. Raises
        `PeerError` if the address may not be dialled now, or does not answer.
        """
        knock = None
        if self._may_dial(address, psk):
            knock = self._punches.dial(address, psk, self._loop.time())
        if knock is None:
            raise PeerError(f"{address} may not be dialled by UDP now")
        dial = _Dial(psk, make, self._loop.create_future())
        self._dialled[address] = dial
        self._send([knock], address)
        try:
            async with asyncio.timeout(PUNCH_TIME):
                return await dial.made
        except (TimeoutError, asyncio.CancelledError) as error:
            if dial.made.done() and not dial.made.cancelled():
                dial.made.result().abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            problem = f"{address} did not answer by UDP in {PUNCH_TIME:g} s"
            raise PeerTimeoutError(problem) from None
        finally:
            del self._dialled[address]
            if not dial.made.done() or dial.made.cancelled():
                self._punches.end(address, psk)

    def _may_dial(self, address: Address, psk: bytes) -> bool:
        """Return True if a connection for a share can be told from all others.

        A peer takes our first packet for that of the share that it has met us for last.
        """
        streams = self._streams.get(address, {})
        is_busy = any(each.is_connecting for each in streams.values())
        return not is_busy and psk not in streams and address not in self._dialled

    def on_datagrams(self, data: bytes, segment: int, source: Address) -> bool:
        """Take datagrams of one source; return False if not all of them are ours."""
        if self._is_closed:
            return False
        if len(data) > segment:
            # The kernel joins datagrams of one size, and a shorter one to their end.
            if segment == DATAGRAM_SIZE:
                parts = [data[i : i + segment] for i in range(0, len(data), segment)]
                return all([self._on_part(each, segment, source) for each in parts])
            if len(data) % segment == DATAGRAM_SIZE:
                data, last = data[:-DATAGRAM_SIZE], data[-DATAGRAM_SIZE:]
                is_ours = self._on_part(data, segment, source)
                return self._on_part(last, DATAGRAM_SIZE, source) and is_ours
        return self._on_part(data, segment, source)

    def _on_part(self, data: bytes, segment: int, source: Address) -> bool:
        if len(data) == DATAGRAM_SIZE and self._on_knock(data, source):
            return True
        is_ours = True
        while data:
            end = end_of_run(data, segment)
            found = self._stream_of(data[:segment], source)
            if found is None:
                is_ours = False
            else:
                psk, stream = found
                had_heard = stream.has_heard
                stream.receive(data[:end], segment)
                if stream.has_heard and not had_heard:
                    self._punches.end(source, psk)
            data = data[end:]
        return is_ours

    def _stream_of(
        self, datagram: bytes, source: Address
    ) -> "tuple[bytes, QuicStream] | None":
        """Return whose a datagram is; None if it is of no connection."""
        streams = self._streams.get(source)
        if streams is None:
            return None
        for psk, stream in streams.items():
            if stream.takes(datagram):
                return psk, stream
        may_begin = (
            each for each in reversed(streams.items()) if each[1].may_begin(datagram)
        )
        return next(may_begin, None)

    def close(self) -> None:
        """End every connection, and take no more datagrams."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for streams in list(self._streams.values()):
            for stream in list(streams.values()):
                stream.abort()

    def _on_knock(self, data: bytes, source: Address) -> bool:
        now, shares = self._loop.time(), self._shares()
        done = self._punches.on_datagram(data, source, shares, now)
        if done is None:
            return False
        answer, met = done
        if answer:
            self._send([answer], source)
        if met is not None:
            self._on_met(met)
        self._set_timer()
        return True

    def _on_met(self, met: Met) -> None:
        dial = self._dialled.get(met.address)
        if met.is_dialled:
            if dial is not None and dial.psk == met.psk and not dial.made.done():
                protocol = dial.make(met.is_client)
                dial.made.set_result(self._connect(met, protocol))
            return
        if not self._arrivals.admits(met.address.host, self._loop.time()):
            return
        former = self._streams.get(met.address, {}).get(met.psk)
        if former is not None:
            former.abort()  # the peer has started anew
        if len(self._accepted) >= MAX_ACCEPTED:
            first_of_crowd(self._accepted, self._host_of).abort()
        stream = self._connect(met, self._accept(met.address, met.psk))
        self._accepted[stream] = met.address

    def _host_of(self, stream: "QuicStream") -> Hashable:
        return host_key(self._accepted[stream].host)

    def _connect(self, met: Met, protocol: asyncio.BufferedProtocol) -> "QuicStream":
        from shoal.transport.quic.stream import QuicStream

        address, psk = met.address, met.psk
        streams = self._streams.setdefault(address, {})

        def on_end() -> None:
            self._accepted.pop(stream, None)
            if streams.get(psk) is stream:
                del streams[psk]
                self._punches.end(address, psk)
            if not streams and self._streams.get(address) is streams:
                del self._streams[address]

        stream = QuicStream(
            protocol,
            address,
            lambda datagrams: self._send(datagrams, address),
            on_end,
            is_client=met.is_client,
        )
        streams[psk] = stream
        return stream

    def _set_timer(self) -> None:
        due = self._punches.next_due()
        if self._timer is None and due is not None:
            self._timer = self._loop.call_at(due, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        for datagram, address in self._punches.repetitions(self._loop.time()):
            self._send([datagram], address)
        self._set_timer()
