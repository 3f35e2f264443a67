"""Send malicious requests to a gateway.

python -m tests.adversary.http URL

URL is that of a file, as `shoal serve` prints it. Each case is one connection, which
sends bytes, waits until the server closes it and prints a line with the result. Exits
with 1 if any case got a wrong answer or a byte of the file.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.helpers.gateway import exchange

__all__ = ["ODD_LINES", "ODD_PATHS", "Case", "Target", "cases", "run"]

PATIENCE = 30.0  # seconds for each case
LOST = (
    0  # instead of a status: the server closed the connection before it read everything
)

ODD_PATHS = [
    *("../x", "%2e%2e/film.mp4", "%2E./film.mp4", "./film.mp4", "%2e/film.mp4"),
    *("/film.mp4", "%2ffilm.mp4", "..%2ffilm.mp4", "\\film.mp4", "%5cfilm.mp4"),
    *("..\\film.mp4", "film.mp4%00", "%00", "film.mp4%", "film.mp4%zz", "%ff"),
    *("%c0%ae%c0%ae/film.mp4", "film.mp4%0d%0aX:y", "film.mp4#x", "film.mp4%7f"),
]
"""Paths that must be answered with 400."""
ODD_LINES: Mapping[str, bytes] = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked",
    "chunked": b"Transfer-Encoding: chunked",
    "not quite chunked": b"Transfer-Encoding: xchunked",
    "hidden chunked": b"Transfer-Encoding : chunked",
    "two encodings": b"Transfer-Encoding: gzip, chunked",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 4",
    "a list of lengths": b"Content-Length: 4, 4",
    "a length with a sign": b"Content-Length: +4",
    "a negative length": b"Content-Length: -4",
    "a body": b"Content-Length: 4",
    "two hosts": b"Host: evil.example",
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: websocket",
    "a folded line": b"X: a\r\n b",
    "a lone CR": b"X: a\rb",
    "a NUL": b"X: a\0b",
    "no colon": b"X",
    "an odd name": b"X(y): z",
    "a long line": b"X: " + b"a" * 9_000,
    "100 lines": b"\r\n".join(b"X%d: y" % number for number in range(100)),
    "10,000 lines": b"\r\n".join(b"X%d: y" % number for number in range(10_000)),
    "a megabyte": b"X: " + b"a" * 1_000_000,
}
"""Additional headers that must be answered with 400 or 431."""


class Target(NamedTuple):
    """The file and the server to attack."""

    host: str
    port: int
    path: str
    """Path of the file."""

    def request(self, *lines: bytes, path: str = "", host: str = "") -> bytes:
        """Return a request for the file with additional headers."""
        first = f"GET {path or self.path} HTTP/1.1".encode()
        named = f"Host: {host or f'{self.host}:{self.port}'}".encode()
        return b"\r\n".join((first, named, *lines, b"", b""))


class Case(NamedTuple):
    """The bytes to send and the permitted answers."""

    name: str
    data: bytes
    statuses: tuple[int, ...]
    is_slow: bool = False
    """Whether the case waits for the server's time limit for a request."""


def cases(target: Target) -> list[Case]:
    """Return all cases."""
    folder = target.path.rpartition("/")[0]
    token = target.path.split("/")[1]
    wrong = target.path.replace(token, "A" * len(token))
    elsewhere = target.path.replace("/files/", "/files/9")
    own = target.request
    evil = own(host="evil.example")
    return [
        # The server must not answer a second request behind the first.
        *(
            Case(name, own(line) + b"0\r\n\r\n" + own(), (400, 431, LOST))
            for name, line in ODD_LINES.items()
        ),
        *(Case(path, own(path=f"{folder}/{path}"), (400,)) for path in ODD_PATHS),
        Case("a rebound name", evil + own(), (421,)),
        Case("another host", own(path="http://evil.example" + target.path), (421,)),
        Case("a stranger's page", own(b"Sec-Fetch-Site: cross-site", _CLOSE), (403,)),
        Case(
            "a stranger's script", own(b"Origin: http://evil.example", _CLOSE), (403,)
        ),
        Case("a form", own().replace(b"GET", b"POST", 1), (405,)),
        Case("no token", own(_CLOSE, path="/"), (404,)),
        Case("a wrong token", own(_CLOSE, path=wrong), (404,)),
        Case("another share", own(_CLOSE, path=elsewhere), (404,)),
        Case("half a request", own()[:-2], (LOST,), is_slow=True),
        Case("TLS", bytes.fromhex("16030100f5010000f10303") + bytes(234), (400,)),
        Case("nothing at all", b"", (LOST,), is_slow=True),
    ]


_CLOSE = b"Connection: close"


async def say(target: Target, data: bytes) -> tuple[int, bytes]:
    """Send the bytes of a case; return the status and body of the first answer."""
    got = await exchange(target.host, target.port, data, PATIENCE)
    head, _, body = got.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else LOST), body


async def run(target: Target, *, with_slow: bool = True) -> list[str]:
    """Run all cases at the same time; return the names of those that failed."""
    every = [each for each in cases(target) if with_slow or not each.is_slow]
    answers = await asyncio.gather(*(say(target, case.data) for case in every))
    wrong = []
    for case, (status, body) in zip(every, answers, strict=True):
        is_right = status in case.statuses and len(body) < 1000
        sys.stdout.write(f"{'ok' if is_right else 'WRONG'} {status} {case.name}\n")
        if not is_right:
            wrong.append(case.name)
    return wrong


def main() -> int:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="http", allow_abbrev=False)
    parser.add_argument("url")
    url = urlsplit(parser.parse_args().url)
    assert url.hostname is not None
    target = Target(url.hostname, url.port or 80, url.path)
    return 1 if asyncio.run(run(target)) else 0


if __name__ == "__main__":
    sys.exit(main())
