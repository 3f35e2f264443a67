"""Connections between two simulated processes; a line may be slow or cut."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from shoal.core.names.address import Address
from tests.helpers.memory_net import MemoryTransport
from tests.simulator.hosts import Host
from tests.simulator.loop import Process

__all__ = ["Line", "SimTransport"]


class Carrier(Protocol):
    """Carry what is written on a line."""

    def send(self, line: "Line", end: "SimTransport", data: bytes) -> None:
        """Carry bytes to one end of a line."""

    def hang_up(self, line: "Line", end: "SimTransport") -> None:
        """Tell one end that the other has closed."""

    def linger(self, line: "Line", end: "SimTransport") -> None:
        """Keep the port and remote address of the end that has closed first."""

    def forget(self, line: "Line") -> None:
        """Forget a line of which both ends have closed."""


@dataclass
class Line:
    """Hold both ends of a connection, and the processes that have them."""

    hosts: tuple[Host, Host]
    processes: tuple[Process, Process]
    ends: "tuple[SimTransport, SimTransport]"
    share: bytes
    """The knock key."""
    is_cut: bool = False
    carried: int = 0
    """Bytes so far, in both directions."""
    waiting: list["SimTransport"] = field(default_factory=list)
    """The ends whose next bytes are held, once for each."""


class SimTransport(MemoryTransport):
    """One end of a connection between two processes."""

    def __init__(
        self,
        network: Carrier,
        process: Process,
        protocol: asyncio.BufferedProtocol,
        peer: Address,
        local: Address,
    ) -> None:
        """Have the address `local` at this end, and see the other one as `peer`."""
        super().__init__(protocol, peer)
        self._extra["sockname"] = tuple(local)  # type: ignore[attr-defined]
        self.key = local, peer
        self.network = network
        self.process = process
        self.line: Line
        self.on_the_way: deque[bytes] = deque()
        """What will arrive at this end, in this order."""
        self.in_flight = 0
        """Bytes in it."""
        self.is_eof = False

    def write(self, data: Any) -> None:
        if self._is_closing or self.process.is_dead:
            return
        other = cast(SimTransport, self.other)
        other.in_flight += len(data)
        other.on_the_way.append(bytes(data))
        self.network.send(self.line, other, bytes(data))
        if not self._is_full and self.get_write_buffer_size() > self._high:
            self._is_full = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def arrive(self) -> None:
        """Let the next bytes that are on the way arrive."""
        data = self.on_the_way.popleft()
        self.in_flight -= len(data)
        if not self._is_closing and not self.process.is_dead:
            self._incoming += data
            self.process.call(self._deliver)

    def _deliver(self) -> None:
        super()._deliver()
        if self.is_eof and not self._incoming and not self.in_flight:
            self.end()

    def get_write_buffer_size(self) -> int:
        other = cast(SimTransport, self.other)
        return len(other._incoming) + other.in_flight

    def resume_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self.process.call(self._deliver)

    def abort(self) -> None:
        """Close this end at once, and the other one after the latency."""
        if not self._is_closing:
            self.end()
            if not self.is_eof:
                self.network.linger(self.line, self)
            self.network.hang_up(self.line, cast(SimTransport, self.other))

    def end(self, error: Exception | None = None) -> None:
        """Tell the protocol that the connection has ended."""
        if not self._is_closing:
            self._is_closing = True
            self.process.call(self.protocol.connection_lost, error)
            self.network.forget(self.line)

    def on_hung_up(self) -> None:
        """Note that the other end has closed; the bytes before that are read first."""
        self._socket.state = 8  # CLOSE_WAIT
        self.is_eof = True
        if not self._is_closing and not self.process.is_dead:
            self.process.call(self._deliver)
