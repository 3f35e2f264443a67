"""Ask a server of an open channel for small chunks, by doing next to nothing.

python -m benchmarks.chunk_client PORT FILE [--unchecked]

To compare servers the client must not be what limits them. So every request is
encoded before the clock starts, answers are counted by their length alone (all
indexes used have the same encoded length, so all answers do), and one system call
sends or receives as much as there is. What came is compared by hash afterwards.
Prints its figures as JSON.
"""

import hashlib
import json
import socket
import sys
import time
from pathlib import Path
from random import Random

from shoal.core.messages import Request, encode_frame, response_header

__all__ = ["CHUNK", "FIRST", "response_of"]

CHUNK = 1024  # bytes
FIRST = 256  # the first index asked for: from here to 65,535 all are encoded alike
DEPTH = 64  # requests outstanding
PIPELINED = 32_768  # chunks in the pipelined part
ALONE = 4_096  # chunks in the part of one at a time


def response_of(index: int, data: bytes) -> bytes:
    """Return the frame that has to come for a chunk."""
    return response_header(index, len(data)) + data


class Exchange:
    """Some requests, the answers that are right, and room for those that come."""

    def __init__(self, source: bytes, count: int) -> None:
        rng = Random(7)
        chunks = range(FIRST, len(source) // CHUNK)
        indexes = rng.choices(chunks, k=count)
        self.count = count
        self.requests = b"".join(encode_frame(Request(each)) for each in indexes)
        self.request_size = len(self.requests) // count
        answers = [
            response_of(at, source[at * CHUNK : (at + 1) * CHUNK]) for at in indexes
        ]
        self.response_size = len(answers[0])
        self.received = bytearray(sum(map(len, answers)))
        self._digest = _digest(answers)

    def check(self) -> None:
        """Raise AssertionError when one of the answers was wrong."""
        size = self.response_size
        starts = range(0, len(self.received), size)
        came = [bytes(self.received[start : start + size]) for start in starts]
        assert _digest(came) == self._digest, "those are not the chunks asked for"


def _digest(answers: list[bytes]) -> bytes:
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


def run_alone(sock: socket.socket, exchange: Exchange) -> list[int]:
    """Ask again only when answered; return each time in nanoseconds, sorted."""
    requests, received = memoryview(exchange.requests), memoryview(exchange.received)
    step, size = exchange.request_size, exchange.response_size
    times = []
    for number in range(exchange.count):
        came, end = number * size, (number + 1) * size
        begin = time.perf_counter_ns()
        sock.sendall(requests[number * step : (number + 1) * step])
        while came < end:
            came += _receive(sock, received[came:end])
        times.append(time.perf_counter_ns() - begin)
    return sorted(times)


def _receive(sock: socket.socket, into: memoryview) -> int:
    count = sock.recv_into(into)
    assert count, "the server has closed the connection"
    return count


def measure(port: int, source: bytes, *, is_checked: bool) -> dict[str, float]:
    """Do both parts over one connection each; return the figures, in seconds."""
    many, few = Exchange(source, PIPELINED), Exchange(source, ALONE)
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
        "p50": times[len(times) // 2] / 1e9,
        "p99": times[len(times) * 99 // 100] / 1e9,
    }


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


if __name__ == "__main__":
    port_of_server, path, *flags = sys.argv[1:]
    content = Path(path).read_bytes()
    is_honest = "--unchecked" not in flags
    print(json.dumps(measure(int(port_of_server), content, is_checked=is_honest)))
