"""Single chunks between Node programs and shoal, in both directions."""

from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.peers import CHUNK, Peers

pytestmark = pytest.mark.interop

SIZE = 20 * CHUNK + 100
INDEXES = ["0", "3", "11", "20"]
"""The first chunk, one of the first half, one in the middle and the short last one."""


def chunk_of(source: Path, index: str, size: int = CHUNK) -> bytes:
    """Return the bytes of a chunk of the file."""
    return source.read_bytes()[int(index) * size :][:size]


@pytest.mark.program(
    *("channels", "Node programs (msgpack5-stream)", "npm:msgpack5-stream"),
    "request chunks from shoal",
)
def test_a_node_client_gets_its_requested_chunks_from_shoal(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(SIZE, 1)
    _, name = peers.share(source, "a name")
    assert name == "a name"
    for index in INDEXES:
        code, out, err = peers.node("client.js", name, index).finish()
        assert (code, out) == (0, chunk_of(source, index)), err


@pytest.mark.program(
    *("channels", "Node programs (msgpack5-stream)", "npm:msgpack5-stream"),
    "send chunks to shoal",
)
def test_shoal_gets_its_requested_chunks_from_a_node_server(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(SIZE, 2)
    server = peers.node_named(source, "a name")
    for index in INDEXES:
        code, out, _ = peers.chunk("a name", index)
        assert (code, out) == (0, chunk_of(source, index))
    assert server.running


def test_chunks_of_another_size_work_in_both_directions(
    peers: Peers, make_file: MakeFile
) -> None:
    size = 1 << 18
    source = make_file(3 * size + 5, 3)
    peers.node_named(source, "theirs", size)
    peers.share(source, "ours", "--chunk-size", size)
    for index in ("0", "3"):
        wanted = chunk_of(source, index, size)
        assert peers.chunk("theirs", index).stdout == wanted
        assert peers.node("client.js", "ours", index).finish().stdout == wanted


@pytest.mark.parametrize("flags", [[], ["--bare"]], ids=["with sizes", "bare"])
@pytest.mark.program(
    *("channels", "Node programs (fs-chunk-store)", "npm:fs-chunk-store"),
    "send verified chunks of a hash channel",
)
def test_shoal_gets_verified_chunks_of_a_node_hash_channel(
    peers: Peers, make_file: MakeFile, flags: list[str]
) -> None:
    source = make_file(SIZE, 4)
    server, channel = peers.node_hashed(source, *flags)
    for index in INDEXES:
        code, out, _ = peers.chunk(channel, index)
        assert (code, out) == (0, chunk_of(source, index))
    assert server.running


def test_a_chunk_that_does_not_verify_is_not_printed(
    peers: Peers, make_file: MakeFile
) -> None:
    _, channel = peers.node_hashed(make_file(SIZE, 5), "--flip")
    finished = peers.chunk(channel, 3, "--timeout", 2)
    assert finished.code != 0
    assert finished.stdout == b""
    assert finished.stderr != ""


@pytest.mark.parametrize("index", ["21", "9999999999"])
def test_shoal_never_requests_an_index_out_of_range_from_a_node_server(
    peers: Peers, make_file: MakeFile, index: str
) -> None:
    server, channel = peers.node_hashed(make_file(SIZE, 6))
    finished = peers.chunk(channel, index)
    assert finished.code == 2
    assert "20" in finished.stderr, "the error does not name the known range"
    assert finished.stdout == b""
    assert peers.chunk(channel, 20).code == 0
    assert server.running


def test_a_node_client_gets_no_answer_for_an_index_out_of_range(
    peers: Peers, make_file: MakeFile
) -> None:
    source = make_file(SIZE, 7)
    server, name = peers.share(source, "a name")
    indexes = ("21", "-1", "three", "")
    clients = [peers.node("client.js", "--", name, index) for index in indexes]
    for client in clients:
        client.wait_line(r"^asked")
    assert peers.node("client.js", name, "20").finish().stdout == chunk_of(source, "20")
    assert all(client.running for client in clients), "a client got an answer"
    assert server.running
