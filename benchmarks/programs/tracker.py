"""A BitTorrent tracker that reports the same peers to every client.

python -m benchmarks.programs.tracker PORT HOST:PORT…

A client is not reported to itself. aria2 has no other way to get the address of a peer.
Prints `listening`.
"""

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

__all__: list[str] = []

INTERVAL = 3600  # seconds until a client should ask again


class Tracker(ThreadingHTTPServer):
    """Answer all clients."""

    peers: list[tuple[str, int]]


class Handler(BaseHTTPRequestHandler):
    """Answer one request according to BEP 3 and BEP 23."""

    server: Tracker

    def do_GET(self) -> None:
        """Report the peers, for any path."""
        host = self.client_address[0]
        port = int(parse_qs(urlsplit(self.path).query)["port"][0])
        others = [each for each in self.server.peers if each != (host, port)]
        peers = b"".join(map(encode_peer, others))
        body = b"d8:intervali%de5:peers%d:%be" % (INTERVAL, len(peers), peers)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def encode_peer(peer: tuple[str, int]) -> bytes:
    """Return the six-byte encoding of an address (BEP 23)."""
    host, port = peer
    return socket.inet_aton(host) + port.to_bytes(2, "big")


def main(port: str, *peers: str) -> None:
    """Serve until killed."""
    with Tracker(("", int(port)), Handler) as tracker:
        parts = [peer.rpartition(":") for peer in peers]
        tracker.peers = [(host, int(number)) for host, _, number in parts]
        print("listening", flush=True)
        tracker.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
