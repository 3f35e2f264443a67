"""Ask a server of an open channel for small chunks, by doing next to nothing.

python -m benchmarks.programs.chunk_client PORT FILE [--http] [--unchecked]

To compare servers the client must not be what limits them. So every request is
encoded before the clock starts, answers are counted by their length alone (all
indexes used have the same encoded length, so all answers do), and one system call
sends or receives as much as there is. What came is compared by hash afterwards.
With `--http` the server is one of files, asked for ranges. Prints its figures as JSON.
"""

import hashlib
import json
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Protocol

from benchmarks.programs.latencies import summarize
from shoal.core.wire.messages import Request, encode_frame, response_header

__all__ = ["CHUNK", "FIRST", "response_of"]

CHUNK = 1024  # bytes
FIRST = 256  # the first index asked for: from here to 65,535 all are encoded alike
DEPTH = 64  # requests outstanding
PIPELINED = 32_768  # chunks in the pipelined part
ALONE = 4_096  # chunks in the part of one at a time
_RANGES = range(977, 9_765)  # chunks of which both offsets have seven digits


def response_of(index: int, data: bytes) -> bytes:
    """Return the frame that has to come for a chunk."""
    return response_header(index, len(data)) + data


class Dialect(Protocol):
    """How a server is asked, and what it answers; all in the same lengths."""

    chunks: range
    """Indexes that may be asked for."""
    skip: int
    """Bytes at the beginning of an answer that are not compared."""

    def request(self, index: int) -> bytes:
        """Return what asks for a chunk."""
        ...

    def response(self, index: int, data: bytes) -> bytes:
        """Return what comes, with anything in the bytes to be skipped."""
        ...


class Frames:
    """The protocol of open channels."""

    skip = 0

    def __init__(self, source: bytes) -> None:
        self.chunks = range(FIRST, len(source) // CHUNK)

    def request(self, index: int) -> bytes:
        """Return what asks for a chunk."""
        return encode_frame(Request(index))

    def response(self, index: int, data: bytes) -> bytes:
        """Return what comes."""
        return response_of(index, data)


class Ranges:
    """HTTP, with a range for each chunk."""

    chunks = _RANGES

    def __init__(self, port: int, name: str) -> None:
        self._name = name
        with _connect(port) as sock:
            sock.sendall(self.request(self.chunks[0]))
            came = b""
            while b"\r\n\r\n" not in came:
                came += sock.recv(CHUNK)
        self.skip = came.index(b"\r\n\r\n") + 4

    def request(self, index: int) -> bytes:
        """Return what asks for a chunk."""
        start = index * CHUNK
        asked = f"bytes={start}-{start + CHUNK - 1}"
        head = f"GET /{self._name} HTTP/1.1\r\nHost: bench\r\nRange: {asked}\r\n\r\n"
        return head.encode()

    def response(self, index: int, data: bytes) -> bytes:
        """Return what comes; its header, which has the time in it, is skipped."""
        return bytes(self.skip) + data


class Exchange:
    """Some requests, the answers that are right, and room for those that come."""

    def __init__(self, source: bytes, dialect: Dialect, count: int) -> None:
        indexes = Random(7).choices(dialect.chunks, k=count)
        self.count = count
        self.requests = b"".join(map(dialect.request, indexes))
        self.request_size = len(self.requests) // count
        answers = [
            dialect.response(at, source[at * CHUNK : (at + 1) * CHUNK])
            for at in indexes
        ]
        self.response_size = len(answers[0])
        self.received = bytearray(sum(map(len, answers)))
        self._skip = dialect.skip
        self._digest = _digest(answer[self._skip :] for answer in answers)

    def check(self) -> None:
        """Raise AssertionError when one of the answers was wrong."""
        size = self.response_size
        starts = range(0, len(self.received), size)
        came = (bytes(self.received[at + self._skip : at + size]) for at in starts)
        assert _digest(came) == self._digest, "those are not the chunks asked for"


def _digest(answers: Iterable[bytes]) -> bytes:
    """Hash answers in whatever order: Node's come as its threads have read them."""
    digest = hashlib.sha256()
    for answer in sorted(answers):
        digest.update(answer)
    return digest.digest()


def run_pipelined(sock: socket.socket, exchange: Exchange) -> None:
    """Keep `DEPTH` requests outstanding until all are answered."""
    requests, received = memoryview(exchange.requests), memoryview(exchange.received)
    step, size, count = exchange.request_size, exchange.response_size, exchange.count
    asked = min(DEPTH, count)
    sock.sendall(requests[: asked * step])
    came = 0
    while came < len(received):
        came += _receive(sock, received[came:])
        due = min(came // size + DEPTH, count)
        if due > asked:
            sock.sendall(requests[asked * step : due * step])
            asked = due


def run_alone(sock: socket.socket, exchange: Exchange) -> list[float]:
    """Ask again only when answered; return how long each took, in seconds."""
    requests, received = memoryview(exchange.requests), memoryview(exchange.received)
    step, size = exchange.request_size, exchange.response_size
    times = []
    for number in range(exchange.count):
        came, end = number * size, (number + 1) * size
        begin = time.perf_counter()
        sock.sendall(requests[number * step : (number + 1) * step])
        while came < end:
            came += _receive(sock, received[came:end])
        times.append(time.perf_counter() - begin)
    return times


def _receive(sock: socket.socket, into: memoryview) -> int:
    count = sock.recv_into(into)
    assert count, "the server has closed the connection"
    return count


def measure(
    port: int, source: bytes, dialect: Dialect, *, is_checked: bool
) -> dict[str, float]:
    """Do both parts over one connection each; return the figures, in seconds."""
    many, few = (Exchange(source, dialect, count) for count in (PIPELINED, ALONE))
    with _connect(port) as sock:
        wall, cpu = time.perf_counter(), time.process_time()
        run_pipelined(sock, many)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with _connect(port) as sock:
        times = run_alone(sock, few)
    if is_checked:
        many.check()
        few.check()
    return {
        "wall": wall,
        "rate": PIPELINED / wall,
        "client_share": cpu / wall,
        **summarize(times),
    }


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def main(argv: list[str]) -> None:
    """Do what the command line says."""
    port, path, *flags = argv
    source = Path(path).read_bytes()
    dialect: Dialect = Frames(source)
    if "--http" in flags:
        dialect = Ranges(int(port), Path(path).name)
    is_checked = "--unchecked" not in flags
    print(json.dumps(measure(int(port), source, dialect, is_checked=is_checked)))


if __name__ == "__main__":
    main(sys.argv[1:])
