"""A UDP socket that sends and receives many datagrams with one system call.

Linux splits what is sent, and joins what is received, if all datagrams but the last
have the same size (UDP_SEGMENT and UDP_GRO of udp(7)): without that, a connection over
QUIC would spend most of its time in system calls.
"""

import asyncio
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from shoal.core.names.address import Address
from shoal.net.socket_names import SocketName, family_of, host_of, name_of

__all__ = ["BatchSocket", "can_batch"]

Handle = Callable[[bytes, int, Address], None]
"""Take datagrams from an address, each of that many bytes but for the last."""

can_batch = hasattr(socket.socket, "recvmsg")
"""Whether this system has what `BatchSocket` needs; Windows has not."""

# What Linux says if the interface cannot split, or the packets would not fit it. Other
# errors, as without a route for a while, say nothing of later datagrams.
_NO_SPLITTING = (errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
UDP_SEGMENT, UDP_GRO = 103, 104  # of linux/udp.h; not in `socket`
MAX_SEGMENTS = 64  # of one system call
MAX_BATCH = 65_000  # bytes of one system call
RECEIVE_SIZE = 65_535  # bytes
RECEIVES = 16  # before other tasks run
BUFFER = 4 << 20  # bytes asked for in the kernel; it may give less
MAX_QUEUE = 4 << 20  # bytes that wait while the kernel takes none; more are dropped
_SIZE, _GRO = struct.Struct("=H"), struct.Struct("@i")
_SPACE = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0


class BatchSocket:
    """Send and receive datagrams over one socket, from its opening to its end."""

    def __init__(self, host: str, port: int, handle: Handle) -> None:
        """Bind to an address of this machine; port 0 chooses one. Raises `OSError`."""
        self.send_error: OSError | None = None
        """The system's reason for refusing to send, None if it has not refused."""
        self.closed = asyncio.Event()
        """Set once the socket is closed."""
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[list[bytes], SocketName]] = deque()
        self._queued = 0  # bytes
        self._socket = _bound(host, port)
        self._can_split = True
        self._loop.add_reader(self._socket, self._on_readable)

    @property
    def local_port(self) -> int:
        """Return the local port; 0 once the socket is closed."""
        return 0 if self.closed.is_set() else int(self._socket.getsockname()[1])

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram; a failure shows in `send_error` and nothing is raised."""
        self.send_many([data], address)

    def send_many(self, datagrams: Sequence[bytes], address: Address) -> None:
        """Send datagrams to one address, in order; drop what does not fit."""
        if self.closed.is_set():
            return
        try:
            name = name_of(*address)
        except OSError as error:  # the interface of a link-local address is gone
            self.send_error = error
            return
        for batch in _batches(datagrams):
            if self._queue or not self._send(batch, name):
                self._put(batch, name)

    def close(self) -> None:
        """Close the socket; what still waits is dropped."""
        if not self.closed.is_set():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self.closed.set()

    def _send(self, batch: list[bytes], name: SocketName) -> bool:
        """Send a batch; return False if the kernel has no room."""
        try:
            if len(batch) > 1 and self._can_split:
                size = [(socket.SOL_UDP, UDP_SEGMENT, _SIZE.pack(len(batch[0])))]
                self._socket.sendmsg(batch, size, 0, name)
            else:
                for datagram in batch:
                    self._socket.sendto(datagram, name)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if self._can_split and len(batch) > 1 and error.errno in _NO_SPLITTING:
                self._can_split = False
                return self._send(batch, name)
            if error.errno != errno.EMSGSIZE:  # a probe for larger datagrams
                self.send_error = error
        return True

    def _put(self, batch: list[bytes], name: SocketName) -> None:
        if not self._queue:
            self._loop.add_writer(self._socket, self._on_writable)
        size = sum(map(len, batch))
        if self._queued + size <= MAX_QUEUE:
            self._queue.append((batch, name))
            self._queued += size

    def _on_writable(self) -> None:
        while self._queue:
            batch, name = self._queue[0]
            if not self._send(batch, name):
                return
            self._queue.popleft()
            self._queued -= sum(map(len, batch))
        self._loop.remove_writer(self._socket)

    def _on_readable(self) -> None:
        for _ in range(RECEIVES):
            if self.closed.is_set():
                return
            try:
                data, more, _, name = self._socket.recvmsg(RECEIVE_SIZE, _SPACE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # of an earlier datagram of ours
                self.send_error = error
                return
            if data:
                size = _segment(more) or len(data)
                self._handle(data, size, Address(host_of(name), name[1]))


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        with suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        sock.bind(name_of(host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _batches(datagrams: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yield runs of datagrams of one size; the last of a run may be shorter."""
    batch: list[bytes] = []
    for datagram in datagrams:
        if batch and (
            len(datagram) > len(batch[0])
            or len(batch[-1]) < len(batch[0])
            or len(batch) >= MAX_SEGMENTS
            or (len(batch) + 1) * len(batch[0]) > MAX_BATCH
        ):
            yield batch
            batch = []
        batch.append(datagram)
    if batch:
        yield batch


def _segment(more: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the size of each datagram in a joined one; 0 if it is a single one."""
    for level, kind, value in more:
        if (level, kind) == (socket.SOL_UDP, UDP_GRO) and len(value) >= _GRO.size:
            return int(_GRO.unpack_from(value)[0])
    return 0
