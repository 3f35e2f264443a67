"""Request small chunks from a server of an open channel, as cheaply as possible.

python -m benchmarks.programs.chunk_client PORT FILE [--http] [--unchecked]

To compare servers, the client must not be the bottleneck. So all requests are encoded
before the clock starts. Answers are only counted by their length: all indexes have
encodings of the same length, so all answers have, too. Each system call sends or
receives as much as possible. The answers are compared by hash afterwards. With
`--http`, the server is a web server and the client requests ranges. Prints the figures
as JSON.
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
FIRST = 256  # the first index: those up to 65,535 have encodings of the same length
DEPTH = 64  # requests in flight
PIPELINED = 32_768  # chunks in the pipelined part
ALONE = 4_096  # chunks in the part with one request at a time
_RANGES = range(977, 9_765)  # chunks whose offsets both have seven digits


def response_of(index: int, data: bytes) -> bytes:
    """Return the correct answer for a chunk, as a frame."""
    return response_header(index, len(data)) + data


class Dialect(Protocol):
    """The requests and answers of a protocol, each of the same length."""

    chunks: range
    """Indexes that the client may request."""
    skip: int
    """Bytes at the start of each answer that are not compared."""

    def request(self, index: int) -> bytes:
        """Return the request for a chunk."""
        ...

    def response(self, index: int, data: bytes) -> bytes:
        """Return the answer for a chunk; the first `skip` bytes are arbitrary."""
        ...


class Frames:
    """The protocol of open channels."""

    skip = 0

    def __init__(self, source: bytes) -> None:
        self.chunks = range(FIRST, len(source) // CHUNK)

    def request(self, index: int) -> bytes:
        """Return the request for a chunk."""
        return encode_frame(Request(index))

    def response(self, index: int, data: bytes) -> bytes:
        """Return the answer for a chunk."""
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
        """Return the request for a chunk."""
        start = index * CHUNK
        asked = f"bytes={start}-{start + CHUNK - 1}"
        head = f"GET /{self._name} HTTP/1.1\r\nHost: bench\r\nRange: {asked}\r\n\r\n"
        return head.encode()

    def response(self, index: int, data: bytes) -> bytes:
        """Return zeros instead of the header, which contains the time, and the data."""
        return bytes(self.skip) + data


class Exchange:
    """The requests, the hash of the correct answers, and a buffer for answers."""

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
        """Raise `AssertionError` if an answer was wrong."""
        size = self.response_size
        starts = range(0, len(self.received), size)
        came = (bytes(self.received[at + self._skip : at + size]) for at in starts)
        assert _digest(came) == self._digest, "the answers are not the requested chunks"


def _digest(answers: Iterable[bytes]) -> bytes:
    """Hash the sorted answers: Node answers in the order of its threads' reads."""
    digest = hashlib.sha256()
    for answer in sorted(answers):
        digest.update(answer)
    return digest.digest()


def run_pipelined(sock: socket.socket, exchange: Exchange) -> None:
    """Keep `DEPTH` requests in flight until all are answered."""
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
    """Send each request after the last answer; return the latencies in seconds."""
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
    """Run both parts, each over one connection; return the figures in seconds."""
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
    """Run with the arguments of the command line."""
    port, path, *flags = argv
    source = Path(path).read_bytes()
    dialect: Dialect = Frames(source)
    if "--http" in flags:
        dialect = Ranges(int(port), Path(path).name)
    is_checked = "--unchecked" not in flags
    print(json.dumps(measure(int(port), source, dialect, is_checked=is_checked)))


if __name__ == "__main__":
    main(sys.argv[1:])
