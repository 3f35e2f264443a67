"""Open sealed connections, or have them refused, and measure what that takes.

python -m benchmarks.programs.handshakes serve SHARES
python -m benchmarks.programs.handshakes dial PORT COUNT
python -m benchmarks.programs.handshakes ask PORT SECONDS
python -m benchmarks.programs.handshakes flood PORT PER_SECOND SECONDS

`serve` prints `listening PORT` and sends back what it receives. The others print their
figures as JSON, in seconds: `dial` opens one connection after the other, `ask` waits
for one echo after the other on a proven connection, `flood` sends wrong knocks.
"""

import asyncio
import json
import os
import socket
import sys
import time
from collections import deque
from contextlib import suppress

from benchmarks.programs.latencies import summarize
from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.knock import KNOCK_SIZE
from shoal.core.names.address import Address
from shoal.transport.sealed.dial import dial_sealed
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer

__all__: list[str] = []

KEYS = derive_keys(bytes(32))
WARM_UP = 50  # connections that are not counted
PAUSE = 0.005  # seconds between two echoes
BURST = 32  # wrong knocks that wait for their end at the same time
_LINGER = b"\1\0\0\0\0\0\0\0"  # closing resets the connection: no port stays in use


class Echo(asyncio.BufferedProtocol):
    """Send back what arrives; with `ask`, wait for it."""

    def __init__(self, peer: ProvenPeer, *, is_server: bool = True) -> None:
        self.transport: asyncio.Transport
        self._is_server = is_server
        self._buffer = memoryview(bytearray(4096))
        self._answered = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._answered.set()
        if self._is_server:
            self.transport.write(bytes(self._buffer[:nbytes]))

    async def ask(self) -> float:
        """Send a message and wait for the echo; return how long that took."""
        begin = time.perf_counter()
        self._answered.clear()
        self.transport.write(b"ping")
        await self._answered.wait()
        return time.perf_counter() - begin


async def serve(shares: int) -> None:
    """Serve until killed; the share that is dialled is the last one."""
    port = Port(["127.0.0.1"], 0)
    for number in range(1, shares):
        port.register(derive_keys(number.to_bytes(32, "big")), Echo)
    port.register(KEYS, Echo)
    print(f"listening {port.port}", flush=True)
    await asyncio.Event().wait()


async def connect(port: int) -> Echo:
    """Open a proven connection."""
    return await dial_sealed(
        Address("127.0.0.1", port),
        *(KEYS, os.urandom(16), lambda peer: Echo(peer, is_server=False)),
    )


async def dial(port: int, count: int) -> dict[str, float]:
    """Open connections one after the other, each until an echo has arrived."""
    walls: list[float] = []
    cpu = 0.0
    for number in range(WARM_UP + count):
        if number == WARM_UP:
            cpu = time.process_time()
        begin = time.perf_counter()
        echo = await connect(port)
        walls.append(time.perf_counter() - begin)
        await echo.ask()
        echo.transport.abort()
    walls = sorted(walls[WARM_UP:])
    return {"wall": walls[len(walls) // 2], "cpu": (time.process_time() - cpu) / count}


async def ask(port: int, seconds: int) -> dict[str, float]:
    """Return how long a proven peer waits for echoes."""
    echo = await connect(port)
    waits: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        waits.append(await echo.ask())
        await asyncio.sleep(PAUSE)
    echo.transport.abort()
    return {**summarize(waits), "longest": max(waits)}


def flood(port: int, per_second: int, seconds: int) -> dict[str, float]:
    """Send wrong knocks; return how many connections the server closed per second."""
    waiting: deque[socket.socket] = deque()
    begin = time.perf_counter()
    sent = refused = 0
    while (now := time.perf_counter() - begin) < seconds:
        for _ in range(min(int(now * per_second) - sent, BURST)):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            sock.settimeout(10)
            sock.connect(("127.0.0.1", port))
            sock.sendall(os.urandom(KNOCK_SIZE))
            waiting.append(sock)
            sent += 1
        while len(waiting) > BURST or (waiting and sent >= int(now * per_second)):
            with waiting.popleft() as sock, suppress(ConnectionError):
                assert sock.recv(1) == b"", "a wrong knock was answered"
            refused += 1
    return {"refused": refused / (time.perf_counter() - begin)}


def main(command: str, *words: str) -> None:
    """Run with the arguments of the command line."""
    numbers = [int(word) for word in words]
    if command == "serve":
        asyncio.run(serve(*numbers))
    elif command == "dial":
        print(json.dumps(asyncio.run(dial(*numbers))))
    elif command == "ask":
        print(json.dumps(asyncio.run(ask(*numbers))))
    else:
        print(json.dumps(flood(*numbers)))


if __name__ == "__main__":
    main(*sys.argv[1:])
