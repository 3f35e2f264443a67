"""A BitTorrent tracker that tells everyone of the same peers, but not of themselves.

python -m benchmarks.programs.tracker PORT HOST:PORT…

aria2 cannot be told of a peer in any other way. Prints `listening`.
"""

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

__all__: list[str] = []

INTERVAL = 3600  # seconds until somebody should ask again


class Tracker(ThreadingHTTPServer):
    """Answer whoever asks."""

    peers: list[tuple[str, int]]


class Handler(BaseHTTPRequestHandler):
    """Answer one request, as BEP 3 and BEP 23 say."""

    server: Tracker

    def do_GET(self) -> None:
        """Say who is there, whatever was asked."""
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
    """Return an address in the six bytes that trackers have for it."""
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
