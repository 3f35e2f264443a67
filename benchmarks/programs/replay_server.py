"""A server that only counts requests and sends as many prepared answers.

python -m benchmarks.programs.replay_server

It shows how fast `chunk_client` is without waiting for a server: it does not decode
the requests, and one system call sends as many answers as requests have arrived. Prints
`listening PORT`.
"""

import socket

from benchmarks.programs.chunk_client import CHUNK, FIRST, response_of
from shoal.core.wire.messages import Request, encode_frame

__all__: list[str] = []

_REQUEST = len(encode_frame(Request(FIRST)))
_ANSWERS = response_of(FIRST, bytes(CHUNK)) * 1024
_ANSWER = len(_ANSWERS) // 1024


def serve(listener: socket.socket) -> None:
    """Serve one client after another until killed."""
    answers = memoryview(_ANSWERS)
    buffer = bytearray(1024 * _REQUEST)
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            pending = 0
            while came := client.recv_into(buffer):
                count, pending = divmod(pending + came, _REQUEST)
                client.sendall(answers[: count * _ANSWER])


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"listening {listening.getsockname()[1]}", flush=True)
        serve(listening)
