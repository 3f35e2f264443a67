"""Strangers without the link, at the port and in the middle, learn nothing.

The sharer and the fetching peers are the real command.
"""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.crypto.proof import (
    CLIENT_PROOF_SIZE,
    GREETING_SIZE,
    KNOCK_SIZE,
    make_knock,
)
from shoal.core.names.address import Address, parse_address
from shoal.core.names.link import Link, parse_link
from tests.conftest import MakeFile
from tests.helpers.commands import link_of, peer_of, run, share
from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import shoal
from tests.helpers.relay import PlainRelay, TlsRelay
from tests.helpers.sealed import answer_to

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
    hello_end = KNOCK_SIZE + 5 + int.from_bytes(said[KNOCK_SIZE + 3 : KNOCK_SIZE + 5])
    for replayed in (said, said[:KNOCK_SIZE], said[:hello_end]):
        assert await answer_to(sharer.address, replayed, end=True) == b""


async def test_a_knock_used_at_another_node_reveals_nothing(
    sharer: Sharer, tmp_path: Path
) -> None:
    """The knock opens TLS at the other node once, but no proof follows."""
    async with PlainRelay(sharer.address) as relay:
        await fetch_through(sharer, relay.address, tmp_path / "out")
    args = ("-o", tmp_path / "out", "--seed", "--peer", sharer.address)
    with run("get", sharer.link, *args) as other:
        address = parse_address(peer_of(other))
        first = await answer_to(address, bytes(relay.to_server))
        assert len(first) < 3000
        assert_secret(first, sharer.link, sharer.source.name)
        assert await answer_to(address, bytes(relay.to_server)) == b""


async def test_a_relay_with_its_own_certificate_is_refused(
    sharer: Sharer, tmp_path: Path
) -> None:
    """Neither the server nor the client reveals anything to the relay."""
    out = tmp_path / "out"
    async with TlsRelay(sharer.address) as relay:
        args = ("-o", out, "--peer", relay.address, "--timeout", 2)
        with run("get", sharer.link, *args) as program:
            ended = await asyncio.to_thread(program.finish)
    assert ended.code == 3
    assert not out.exists()
    # Only the greeting and the client's proof passed the relay.
    assert relay.to_client, "the relay did not complete the TLS handshake"
    assert len(relay.to_client) % GREETING_SIZE == 0
    assert len(relay.to_server) % CLIENT_PROOF_SIZE == 0


def assert_secret(seen: bytes, link: Link, *names: str) -> None:
    """Check that the recorded bytes contain no part of the link."""
    keys = link.keys
    secrets = [link.id, keys.knock, keys.client, keys.server, keys.log, keys.dht_topic]
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
    """Not even to a stranger that replays a knock."""
    source = make_file(SIZE, 7)
    shown: list[bytes] = []
    for _ in range(2):
        with share(source) as program:
            link = parse_link(link_of(program))
            address = parse_address(peer_of(program))
            knock = make_knock(link.keys.knock, os.urandom(16))
            shown.append(await certificate_of(address, knock))
    assert len(shown[0]) > 100
    common = {shown[0][i : i + 16] for i in range(len(shown[0]) - 15)}
    names = [shown[1][i : i + 16] for i in range(len(shown[1]) - 15)]
    same = [part for part in names if part in common]
    # All Ed25519 certificates have the same frame, but not the same content.
    assert len(same) < 60


async def certificate_of(address: Address, knock: bytes) -> bytes:
    """Return the certificate that a server shows after a knock."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def get() -> bytes:
        with socket.create_connection(address, timeout=10) as sock:
            sock.sendall(knock)
            with context.wrap_socket(sock) as tls:
                shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    return await asyncio.to_thread(get)


def same_bytes(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
