"""Whole files from several peers at once, Node servers and shoal."""

from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.peers import CHUNK, Peers, events, served

pytestmark = [pytest.mark.interop, pytest.mark.timeout(150)]

CHUNKS = 20 << 10
SIZE = CHUNKS * CHUNK  # bytes


@pytest.mark.program(
    *("channels", "Node programs (fs-chunk-store)", "npm:fs-chunk-store"),
    "send a file to shoal, three at once",
)
def test_shoal_fetches_from_three_node_servers(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    source = make_file(SIZE, 1)
    servers = [peers.node_hashed(source) for _ in range(3)]
    target = tmp_path / "out"
    code, out, err = peers.get(servers[0][1], target).finish(90)
    assert code == 0, err
    assert out == f"{target}\n".encode()
    assert target.read_bytes() == source.read_bytes()
    answered = [served(server) for server, _ in servers]
    assert min(map(len, answered)) > 0
    assert set().union(*answered) == set(range(CHUNKS))


def test_shoal_fetches_from_two_node_and_two_shoal_servers(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    source = make_file(SIZE, 2)
    nodes = [peers.node_hashed(source) for _ in range(2)]
    ours = [peers.share(source) for _ in range(2)]
    channel = nodes[0][1]
    assert [other for _, other in ours] == [channel, channel]
    target = tmp_path / "out"
    finished = peers.get(channel, target, "--json").finish(90)
    assert finished.code == 0, finished.stderr
    assert target.read_bytes() == source.read_bytes()
    parts = [event["chunks"] for event in events(finished, "peer") if "chunks" in event]
    assert len(parts) == 4
    assert min(parts) > 0
    assert sum(parts) == CHUNKS
    assert min(len(served(server)) for server, _ in nodes) > 0


# Without TCP_NODELAY, the client waits for a delayed acknowledgement after each window.
@pytest.mark.parametrize(
    "flags", [["--nodelay"], []], ids=["nodelay", "without nodelay"]
)
@pytest.mark.program(
    *("channels", "Node programs (fs-chunk-store)", "npm:fs-chunk-store"),
    "fetch a file from shoal",
)
def test_a_node_client_fetches_from_two_shoal_servers(
    peers: Peers, make_file: MakeFile, tmp_path: Path, flags: list[str]
) -> None:
    source = make_file(SIZE, 3)
    ours = [peers.share(source) for _ in range(2)]
    channel = ours[0][1]
    target = tmp_path / "out"
    client = peers.node("hash-client.js", channel, target, *flags)
    code, out, err = client.finish(90)
    assert code == 0, err
    assert target.read_bytes() == source.read_bytes()
    shares = [int(line.split()[2]) for line in out.decode().splitlines()]
    assert len(shares) == 2
    assert min(shares) > 0
    assert sum(shares) == CHUNKS


def test_shoal_fetches_an_empty_file_from_a_node_server(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    source = make_file(0, 4)
    _, channel = peers.node_hashed(source)
    assert peers.get(channel, tmp_path / "ours").finish().code == 0
    assert (tmp_path / "ours").read_bytes() == b""


def test_a_node_client_fetches_an_empty_file_from_shoal(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    _, channel = peers.share(make_file(0, 4))
    client = peers.node("hash-client.js", channel, tmp_path / "theirs")
    assert client.finish().code == 0
    assert (tmp_path / "theirs").read_bytes() == b""


def test_a_named_channel_of_node_servers_has_no_known_size(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    server = peers.node_named(make_file(5_000, 5), "a name")
    code, out, err = peers.get("a name", tmp_path / "out").finish()
    assert (code, out) == (1, b"")
    assert "shoal chunk" in err
    assert not (tmp_path / "out").exists()
    assert server.running, "an index out of range would have ended the server"


def test_a_node_server_that_sends_no_sizes_is_fetched_whole(
    peers: Peers, make_file: MakeFile, tmp_path: Path
) -> None:
    """The first and the last chunk, verified by their hashes, give the sizes."""
    source = make_file(5_000, 6)
    server, channel = peers.node_hashed(source, "--bare")
    code, _, _ = peers.get(channel, tmp_path / "out", "--timeout", 20).finish()
    assert code == 0
    assert (tmp_path / "out").read_bytes() == source.read_bytes()
    assert server.running, "an index out of range would have ended the server"
