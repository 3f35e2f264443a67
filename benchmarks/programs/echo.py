"""Send bytes over TCP and receive them back: a lower bound for any request.

python -m benchmarks.programs.echo serve
python -m benchmarks.programs.echo ask PORT SIZE COUNT

`serve` prints `listening PORT`. `ask` prints its figures as JSON, in seconds.
"""

import json
import socket
import sys
import time

from benchmarks.programs.latencies import summarize

__all__: list[str] = []

BUFFER = 1 << 20  # bytes
WARM_UP = 20  # exchanges that are not counted


def serve(listener: socket.socket) -> None:
    """Serve one client after another until killed."""
    buffer = memoryview(bytearray(BUFFER))
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            while came := client.recv_into(buffer):
                client.sendall(buffer[:came])


def ask(port: int, size: int, count: int) -> dict[str, float]:
    """Send `size` bytes and wait until they return, `count` times."""
    sent = bytes(range(256)) * (size // 256)
    buffer = memoryview(bytearray(size))
    times = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(WARM_UP + count):
            begin = time.perf_counter()
            sock.sendall(sent)
            came = 0
            while came < size:
                more = sock.recv_into(buffer[came:])
                assert more, "the server has closed the connection"
                came += more
            times.append(time.perf_counter() - begin)
            assert buffer == sent, "what arrived is not what was sent"
    return summarize(times[WARM_UP:])


def main(command: str, *words: str) -> None:
    """Run with the arguments of the command line."""
    if command == "serve":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            print(f"listening {listener.getsockname()[1]}", flush=True)
            serve(listener)
    port, size, count = map(int, words)
    print(json.dumps(ask(port, size, count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
