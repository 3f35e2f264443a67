"""What can be refused without hashing is refused before it.

The files are so large that a test would not end if they were hashed.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.names.address import Address
from shoal.errors import UsageError
from shoal.node.node import Node
from shoal.transport.sealed import listen
from tests.helpers.commands import run
from tests.helpers.fetching import here
from tests.helpers.web_origin import web_origin_beside

SIZE = 4 << 40  # bytes


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(SIZE)  # a hole: no disk is used
    return path


@pytest.fixture
def taken() -> Iterator[int]:
    """Listen at a port; give its number."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--chunk-size 16K", 2, "too many for one link; use --chunk-size"),
        ("--name a/b", 2, "choose another one with --name"),
        ("--open", 2, "for an open channel"),
        ("--origin http://127.0.0.1:{free}/huge", 1, "cannot be used: no connection"),
        ("--port {taken}", 1, "is in use"),
        ("--open --chunk-size 16M --port {taken}", 1, "is in use"),
    ],
)
def test_it_is_refused_before_hashing(
    words: str, code: int, message: str, huge: Path, taken: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    words = words.format(taken=taken, free=free)
    if "16M" in words:  # the largest file that an open channel can have
        with huge.open("r+b") as file:
            file.truncate(1 << 40)
    ended = run("share", huge, *words.split()).finish()
    assert (ended.code, ended.stdout) == (code, b"")
    assert message in ended.stderr


def test_an_origin_with_another_size_is_refused_before_hashing(huge: Path) -> None:
    with web_origin_beside({"huge": b"small"}) as origin:
        ended = run("share", huge, "--origin", origin.url + "huge").finish()
    assert ended.code == 5
    assert "its file has 5 B there" in ended.stderr


async def test_a_full_table_of_shares_is_refused_before_hashing(
    huge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "MAX_SHARES", 1)
    small = tmp_path / "small"
    small.write_bytes(b"small")
    async with Node(here()) as node:
        await node.share(small)
        with pytest.raises(UsageError, match="sealed shares at a time"):
            await node.share(huge)


async def test_fetches_and_readers_do_not_count_as_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "MAX_SHARES", 1)
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        path.write_bytes(path.name.encode())
    async with Node(here()) as other:
        share = await other.share(paths[0])
        peer = Address("127.0.0.1", share.port)
        async with Node(here([peer])) as node:
            with node.reading(share.link) as reading:
                await reading.load(lambda manifest: (), 10)
                await node.share(paths[1])
                await node.fetch(share.link, tmp_path / "copy", timeout=10)
    assert (tmp_path / "copy").read_bytes() == b"one"
