"""Attacks of a server that a link or the user names as an origin.

They may waste neither memory nor traffic, and learn no secret of the user.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.helpers.commands import link_of, peak_rss, peer_of, run, share

__all__ = ["ORIGINS"]

DATA = bytes(range(256)) * 4096
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"
LARGE = (
    INTERIM[:-2] + b"".join(b"X-%d: %8000d\r\n" % (n, n) for n in range(6)) + b"\r\n"
)
TIMEOUT = 6  # seconds without a chunk until the download ends
MOST_SENT = 16 << 20  # bytes that a hostile origin may get rid of, in all connections
MOST_PEAK = 288 << 10  # KiB of memory that a command may use at any time
FAR_DATE = b"HTTP/1.1 503 x\r\nRetry-After: Mon, 01 Jan %b 00:00:00 GMT\r\n\r\n"
NOTHING: Mapping[bytes, bytes] = {}
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDSECRET",
    "AWS_SECRET_ACCESS_KEY": "secretkey",
    "AWS_SESSION_TOKEN": "secrettoken",
}


class Server:
    """A server that says the same for ever, or answers once, on each connection.

    What it says `first` depends on the method; to HEAD it then says no more.
    """

    def __init__(
        self, said: bytes, *, endless: bool, first: Mapping[bytes, bytes]
    ) -> None:
        self.requests: list[bytes] = []
        """The first bytes of each connection."""
        self.sent = 0
        """Bytes that clients have accepted."""
        self._said, self._endless, self._first = said, endless, first
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        """The port that it listens at."""

    def run(self) -> None:
        """Accept connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(client,)).start()

    def _answer(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(20)
            request = client.recv(65536)
            self.requests.append(request)
            method = request.partition(b" ")[0]
            client.sendall(self._first.get(method, b""))
            if method == b"HEAD" and method in self._first:
                return
            while True:
                self.sent += client.send(self._said)
                if not self._endless:
                    return

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def serving(
    said: bytes, *, endless: bool = False, first: Mapping[bytes, bytes] = NOTHING
) -> Iterator[Server]:
    """Run a server in a thread; `first` is what it says before, by the method."""
    server = Server(said, endless=endless, first=first)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def _get(
    folder: Path,
    origin: str,
    *,
    in_link: bool = False,
    env: dict[str, str] | None = None,
) -> int:
    """Fetch a share whose only peer leaves: origins are asked for what no peer has.

    Returns the most memory, in KiB, that the command has used at a time.
    """
    source, out = folder / "x", folder / "out"
    source.write_bytes(DATA)
    with share(source, "--limit-up", len(DATA) // 8) as sharer:
        link = link_of(sharer)
        more = () if in_link else ("--origin", origin)
        link += f"?origin={origin}" if in_link else ""
        args = ("get", link, "-o", out, "--peer", peer_of(sharer), *more)
        with run(*args, "--timeout", TIMEOUT, env=env) as program:
            while not any(folder.glob(".out.*/data")) and program.running:
                time.sleep(0.01)
            sharer.kill()
            peak = 0
            while program.running:
                with suppress(AssertionError, OSError):  # it may end meanwhile
                    peak = max(peak, peak_rss(program))
                time.sleep(0.05)
            ended = program.finish(50)
    assert ended.code in (3, 7), ended
    assert not out.exists()
    return peak


def _says_without_end(said: bytes, folder: Path) -> None:
    """Say the same before the response for as long as it is read."""
    with serving(said, endless=True) as server:
        _get(folder, f"http://127.0.0.1:{server.port}/x")
        assert server.requests, "the origin was not asked"
    assert server.sent < MOST_SENT, f"it was read {server.sent:,} bytes"


def retry_after_the_last_year(folder: Path) -> None:
    """Ask to be left alone until a year of 20 digits: the download goes on."""
    with serving(FAR_DATE % (b"9" * 20)) as server:
        _get(folder, f"http://127.0.0.1:{server.port}/x")
        assert len(server.requests) > 1, "the origin was not asked again"


def origin_redirects_with_password(folder: Path) -> None:
    """Redirect a request with a password to another server."""
    with serving(b"HTTP/1.1 404 Not Found\r\n\r\n") as other:
        where = f"Location: http://127.0.0.1:{other.port}/x\r\n"
        said = f"HTTP/1.1 302 Found\r\n{where}Content-Length: 0\r\n\r\n".encode()
        with serving(said) as server:
            _get(folder, f"http://user:secret@127.0.0.1:{server.port}/x?sig=secret")
        assert any(b"Authorization" in each for each in server.requests)
        assert other.requests, "the redirect was not followed"
        for each in other.requests:
            assert b"uthorization" not in each, each
            assert b"secret" not in each, each


def link_to_another_server_of_a_host(folder: Path) -> None:
    """Name in a link another port of this machine, where the user has an origin."""
    with serving(b"HTTP/1.1 404 Not Found\r\n\r\n") as named:
        with serving(b"HTTP/1.1 404 Not Found\r\n\r\n") as other:
            # Links may name addresses on the interfaces that the user names.
            env = {"SHOAL_INTERFACES": "", "SHOAL_LAN_ONLY": "1"}
            env["SHOAL_ORIGIN"] = f"http://127.0.0.1:{named.port}/x"
            at = f"http%3A%2F%2F127.0.0.1%3A{other.port}%2Fx"
            _get(folder, at, in_link=True, env=env)
            assert named.requests, "the origin of the user was not asked"
            assert other.requests == [], other.requests


def link_sends_no_s3_key(folder: Path) -> None:
    """Name a bucket in a link: the keys of the user sign no request for it."""
    with serving(b"HTTP/1.1 403 Forbidden\r\n\r\n") as server:
        env = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}"}
        _get(folder, "s3%3A%2F%2Fbucket%2Fx", in_link=True, env=env)
        assert server.requests == [], server.requests


def redirect_sends_no_s3_key(folder: Path) -> None:
    """Redirect a signed request for the user's bucket to another server."""
    with serving(b"HTTP/1.1 403 Forbidden\r\n\r\n") as other:
        where = f"http://127.0.0.1:{other.port}/bucket/x"
        said = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {where}\r\n"
        said += "x-amz-bucket-region: eu-west-1\r\nContent-Length: 0\r\n\r\n"
        with serving(said.encode()) as server:
            env = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}"}
            _get(folder, "s3://bucket/x", env={**env, "HOME": os.devnull})
            assert any(b"AKIDSECRET" in each for each in server.requests)
        for each in other.requests:
            for secret in (*KEYS.values(), "uthorization", "ignature"):
                assert secret.encode() not in each, each


def bucket_without_end(folder: Path) -> None:
    """Send an endless object in response to a request for a part of it."""
    start = f"HTTP/1.1 206 x\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
    size = f"HTTP/1.1 200 x\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()
    first = {b"HEAD": size, b"GET": start}
    with serving(bytes(1 << 20), endless=True, first=first) as server:
        env = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}"}
        env["HOME"] = os.devnull
        peak = _get(folder, "s3://bucket/x", env=env)
        assert any(each.startswith(b"GET") for each in server.requests)
    assert peak <= MOST_PEAK, f"{peak >> 10} MiB of memory were in use at a time"


ORIGINS: dict[str, Callable[[Path], None]] = {
    "interim_without_end": partial(_says_without_end, INTERIM * 100),
    "large_interim_without_end": partial(_says_without_end, LARGE),
    "header_without_end": partial(
        _says_without_end, b"HTTP/1.1 206 x\r\nX: " + b"x" * 999
    ),
    "retry_after_the_last_year": retry_after_the_last_year,
    "origin_redirects_with_password": origin_redirects_with_password,
    "link_to_another_server_of_a_host": link_to_another_server_of_a_host,
    "link_sends_no_s3_key": link_sends_no_s3_key,
    "redirect_sends_no_s3_key": redirect_sends_no_s3_key,
    "bucket_without_end": bucket_without_end,
}
"""All cases by name; each is given an empty folder."""
