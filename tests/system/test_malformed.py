"""Malformed input neither stops a `shoal share` process nor costs it memory."""

import random
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.core.wire.test_messages import MALFORMED
from tests.helpers.commands import peer_of, rss, share_open
from tests.helpers.process import Program
from tests.helpers.wire import Content, frame, pack, receive_frame, varint

CONTENT = Content.make(300_000, 4096)
FRAMES = 10_000
SLACK = 24 * 1024  # KiB that a server may keep: buffers, pages, the allocator

REQUEST = pack({"type": "request", "index": 1})
LENGTHS = [0, (1 << 7) - 1, 1 << 17, (1 << 17) + 1, 1 << 28, (1 << 31), (1 << 32) - 1]


def _frames(rng: random.Random) -> Iterator[bytes]:
    """Yield data that is not a frame of the protocol, and some that nearly is."""
    for bomb in MALFORMED.values():
        yield varint(len(bomb)) + bomb
    for length in LENGTHS:
        yield varint(length) + b"x" * 100
    while True:
        match rng.randrange(4):
            case 0:
                yield rng.randbytes(rng.randrange(1, 300))
            case 1:
                noise = rng.randbytes(rng.randrange(1, 300))
                yield varint(len(noise)) + noise
            case 2:
                body = bytearray(REQUEST)
                body[rng.randrange(len(body))] = rng.randrange(256)
                yield varint(len(body)) + bytes(body)
            case _:
                index = rng.choice([-1, 1 << 63, True, 1.5, None, "x", "9" * 11, [1]])
                yield frame({"type": "request", "index": index})


@pytest.fixture(params=["hash", "named"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    """Yield a `shoal share` process, for a hash channel and for a named one."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT.data)
    name = ["team"] if request.param == "named" else []
    with share_open(path, *name, "--chunk-size", CONTENT.chunk_size) as program:
        yield program


def _connect(server: Program) -> socket.socket:
    host, port = peer_of(server).split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def _still_serves(server: Program) -> None:
    with _connect(server) as sock:
        sock.sendall(frame({"type": "request", "index": "7"}))
        while (answer := receive_frame(sock))["type"] != "response":
            pass
        assert answer == {"type": "response", "index": "7", "data": CONTENT.chunk(7)}


def _send(server: Program, data: bytes) -> None:
    """Send data on a new connection, and wait until the server closes it."""
    with _connect(server) as sock, suppress(ConnectionError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass


def test_a_server_survives_ten_thousand_malformed_frames_in_little_memory(
    server: Program,
) -> None:
    source = _frames(random.Random(7))
    for _ in range(FRAMES // 10):
        _send(server, next(source))
    _still_serves(server)
    before = rss(server)
    for _ in range(FRAMES - FRAMES // 10):
        _send(server, next(source))
    _still_serves(server)
    assert rss(server) - before < SLACK
    assert "Traceback" not in server.stderr
    assert len(server.stderr.splitlines()) <= 4, server.stderr


@pytest.mark.parametrize("message", [{"type": "request", "index": 7}, {"type": "info"}])
def test_a_peer_that_sends_requests_and_never_reads_costs_little_memory(
    message: dict[str, object], server: Program
) -> None:
    _still_serves(server)
    before = rss(server)
    flood = frame(message) * 10_000
    with _connect(server) as sock:
        sock.settimeout(1)
        # Only when the server stops reading has it read all that it will.
        with pytest.raises(TimeoutError):
            sock.sendall(flood * 400)
        _still_serves(server)
        assert rss(server) - before < SLACK


def test_a_hundred_thousand_requests_are_all_answered(server: Program) -> None:
    count = 100_000
    requests = memoryview(frame({"type": "request", "index": 73}) * count)
    last = len(CONTENT.chunk(73))
    with _connect(server) as sock:
        sock.setblocking(False)
        _exchange(sock, requests, count * (last + 20))


def _exchange(sock: socket.socket, requests: memoryview, at_least: int) -> None:
    """Send and receive at the same time until that many bytes arrived."""
    received = 0
    while received < at_least:
        want = [sock] if requests else []
        readable, writable, _ = select.select([sock], want, [], 10)
        assert readable or writable, f"stopped after {received} of {at_least}"
        if readable:
            more = len(sock.recv(1 << 20))
            assert more
            received += more
        if writable:
            requests = requests[sock.send(requests[: 1 << 16]) :]


def test_a_server_survives_many_connections_at_once(server: Program) -> None:
    socks = []
    with suppress(OSError):
        for _ in range(600):
            socks.append(_connect(server))
    try:
        _still_serves(server)
    finally:
        for sock in socks:
            sock.close()
    _still_serves(server)
