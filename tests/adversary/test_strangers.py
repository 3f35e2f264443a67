"""Strangers without the link, at the port and in the middle, learn nothing.

The sharer and the fetching peers are the real command.
"""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.crypto.knock import ANSWER_SIZE, CONFIRMATION_SIZE, KNOCK_SIZE
from shoal.core.names.address import Address, parse_address
from shoal.core.names.link import Link, parse_link
from tests.conftest import MakeFile
from tests.helpers.commands import link_of, peer_of, run, share
from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import shoal
from tests.helpers.relay import ExchangingRelay, PlainRelay
from tests.helpers.sealed import OTHER_KEYS, answer_to, make_knock

SIZE = 300_000


class Sharer:
    def __init__(self, program: Program, source: Path) -> None:
        self.program = program
        self.source = source
        self.address: Address = parse_address(peer_of(program))
        text = link_of(program)
        self.link: Link = parse_link(text)


@pytest.fixture
def sharer(make_file: MakeFile) -> Iterator[Sharer]:
    source = make_file(SIZE, 7)
    with share(source) as program:
        yield Sharer(program, source)


async def fetch_through(sharer: Sharer, relay: Address, out: Path) -> None:
    """Fetch with the real command from the relay only."""
    with run("get", sharer.link, "-o", out, "--peer", relay) as program:
        ended = await asyncio.to_thread(program.finish)
    assert ended.code == 0, ended.stderr
    assert same_bytes(out, sharer.source)


async def test_a_replayed_knock_is_not_answered(sharer: Sharer, tmp_path: Path) -> None:
    async with PlainRelay(sharer.address) as relay:
        await fetch_through(sharer, relay.address, tmp_path / "out")
    said = bytes(relay.to_server)
    assert len(said) > KNOCK_SIZE
    for replayed in (said, said[:KNOCK_SIZE], said[: KNOCK_SIZE + CONFIRMATION_SIZE]):
        assert await answer_to(sharer.address, replayed, end=True) == b""


async def test_a_knock_used_at_another_node_reveals_nothing(
    sharer: Sharer, tmp_path: Path
) -> None:
    """The other node answers the knock once, and nothing follows the answer."""
    async with PlainRelay(sharer.address) as relay:
        await fetch_through(sharer, relay.address, tmp_path / "out")
    args = ("-o", tmp_path / "out", "--seed", "--peer", sharer.address)
    with run("get", sharer.link, *args) as other:
        address = parse_address(peer_of(other))
        first = await answer_to(address, bytes(relay.to_server))
        assert len(first) == ANSWER_SIZE
        assert_secret(first, sharer.link, sharer.source.name)
        assert await answer_to(address, bytes(relay.to_server)) == b""


@pytest.mark.parametrize("at_client", [False, True])
async def test_a_relay_with_its_own_key_is_refused(
    sharer: Sharer, tmp_path: Path, at_client: bool
) -> None:
    """Neither the server nor the client reveals anything to the relay."""
    out = tmp_path / "out"
    own = make_knock(OTHER_KEYS)[:32]
    async with ExchangingRelay(sharer.address, own, at_client=at_client) as relay:
        args = ("-o", out, "--peer", relay.address, "--timeout", 2)
        with run("get", sharer.link, *args) as program:
            ended = await asyncio.to_thread(program.finish)
    assert ended.code == 3
    assert not out.exists()
    assert relay.to_server, "the client did not dial the relay"
    assert len(relay.to_server) % KNOCK_SIZE == 0
    assert bool(relay.to_client) is at_client
    assert len(relay.to_client) % ANSWER_SIZE == 0


class FlippingRelay(PlainRelay):
    """Flip one bit of the first chunk that passes, far behind the handshake."""

    has_flipped = False

    def forward(self, data: bytes, *, to_client: bool) -> bytes:
        if not to_client or self.has_flipped or len(self.to_client) < SIZE // 2:
            return data
        self.has_flipped = True
        return data[:-1] + bytes((data[-1] ^ 1,))


@pytest.mark.parametrize("chunk_size", [16_384, 262_144])
async def test_a_changed_bit_costs_a_connection_and_no_more(
    make_file: MakeFile, tmp_path: Path, chunk_size: int
) -> None:
    """No wrong byte is stored, and the peer is dialled again: it is not banned."""
    source = make_file(SIZE, 7)
    with share(source, "--chunk-size", chunk_size) as program:
        through = Sharer(program, source)
        async with FlippingRelay(through.address) as relay:
            await fetch_through(through, relay.address, tmp_path / "out")
            assert relay.has_flipped


def assert_secret(seen: bytes, link: Link, *names: str) -> None:
    """Check that the recorded bytes contain no part of the link."""
    keys = link.keys
    secrets = [link.id, keys.psk, keys.log, keys.dht_topic]
    lowered = seen.lower()
    for secret in secrets:
        assert secret not in seen
        assert secret.hex().encode() not in lowered
    text = str(link).partition("?")[0].encode()
    assert text.removeprefix(b"shoal:")[:20] not in lowered
    for name in names:
        assert name.encode() not in seen


def test_a_capture_of_a_whole_transfer_contains_no_secrets(
    namespace: Namespace, make_file: MakeFile, tmp_path: Path
) -> None:
    """Two peers find each other on the LAN, and a third host records every packet."""
    source, out, packets = make_file(SIZE, 7), tmp_path / "out", tmp_path / "packets"
    lan = {"SHOAL_LAN_ONLY": "1"}
    argv = [sys.executable, "-m", "tests.helpers.capture", str(packets)]
    with Program(argv, namespace=namespace, has_input=True) as capture:
        capture.wait_line("ready")
        with shoal("share", source, ns=namespace, env=lan) as sharer:
            link = parse_link(link_of(sharer))
            with shoal("get", link, "-o", out, ns=namespace, env=lan) as getting:
                assert getting.finish().code == 0
        capture.end_input()
        capture.wait_line("done")
    content, seen = source.read_bytes(), packets.read_bytes()
    assert out.read_bytes() == content
    # The capture contains the announcement and the whole transfer.
    assert link.keys.lan_topic.hex().encode() in seen
    assert len(seen) > SIZE
    assert_secret(seen, link, source.name)
    assert not any(content[i : i + 16] in seen for i in range(0, SIZE - 16, 9973))


async def test_two_servers_of_a_share_cannot_be_linked(
    make_file: MakeFile, tmp_path: Path
) -> None:
    """Not even by a stranger that replays a knock: no four bytes are the same."""
    source = make_file(SIZE, 7)
    shown: list[bytes] = []
    knock = b""
    for _ in range(2):
        with share(source) as program:
            knock = knock or make_knock(parse_link(link_of(program)).keys)
            address = parse_address(peer_of(program))
            shown.append(await answer_to(address, knock, end=True))
    assert [len(each) for each in shown] == [ANSWER_SIZE] * 2
    parts = [{each[i : i + 4] for i in range(len(each) - 3)} for each in shown]
    assert not parts[0] & parts[1]


def same_bytes(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
