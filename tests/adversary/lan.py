"""Attacks from machines on the LAN: a flood of multicast, and a hostile router.

python -m tests.adversary.lan flood TOPIC SOURCE VICTIM
    multicasts hostile packets as SOURCE, and forged answers as VICTIM
python -m tests.adversary.lan route ADDRESS
    is a router that answers every request with nonsense

Both run until standard input ends. The machines are network namespaces.
"""

import asyncio
import os
import random
import select
import socket
import struct
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import cast

from shoal.core.names.address import Address
from shoal.core.names.link import parse_link
from shoal.discovery.lan.packets import SENDER, encode_response
from shoal.discovery.lan.sockets import GROUP, MDNS_PORT
from shoal.mapping.packets import SERVER_PORT
from shoal.mapping.upnp import SSDP_PORT
from tests.helpers.capture import recorded, sent
from tests.helpers.commands import link_of, peak_rss, peer_of
from tests.helpers.lan import machines_on_a_lan
from tests.helpers.lan_tool import hostile_packets
from tests.helpers.netns import Namespace, join_by_veth
from tests.helpers.process import Program
from tests.helpers.programs import shoal

__all__ = ["LAN"]

DATA = bytes(range(256)) * 8192
FLOOD_TIME = 4.0  # seconds that the flood lasts before an honest machine appears
PATIENCE = 40.0  # seconds
MOST_PEAK = 128 << 10  # KiB of memory
MOST_PACKETS = 60  # to the victim; each dial is refused, so it is one packet
ONLY_LAN = {"SHOAL_LAN_ONLY": "1"}
NOWHERE = {"SHOAL_DHT_BOOTSTRAP": "192.0.2.1:6881", "SHOAL_NO_LAN": "1"}


def _attacker(namespace: Namespace, *words: object) -> Program:
    argv = [sys.executable, "-m", "tests.adversary.lan", *map(str, words)]
    return Program(argv, namespace=namespace, has_input=True)


def multicast_flood(folder: Path) -> None:
    """Flood a machine that downloads, and have it dial a third machine."""
    source, out = folder / "x", folder / "out"
    source.write_bytes(DATA)
    with machines_on_a_lan(3) as (ours, evil, honest):
        # The attacker has the victim's address, too: what arrives there is counted.
        evil.run("ip", "addr", "add", "10.79.0.99/24", "dev", "v0")
        with shoal("share", source, env=ONLY_LAN, ns=honest) as sharer:
            link = link_of(sharer)
        topic = parse_link(link).keys.lan_topic.hex()
        args = ("get", link, "-o", out, "--timeout", PATIENCE)
        with (
            recorded(evil, folder / "packets", "v0"),
            _attacker(evil, "flood", topic, "10.79.0.2", "10.79.0.99"),
            shoal(*args, env=ONLY_LAN, ns=ours) as getting,
        ):
            evil.run("sleep", str(FLOOD_TIME))
            with shoal("share", source, env=ONLY_LAN, ns=honest):
                while getting.running:
                    peak = peak_rss(getting)
                    evil.run("sleep", "0.1")
                ended = getting.finish(PATIENCE)
        packets = sent(folder / "packets", "10.79.0.1").count("10.79.0.99")
    assert ended.code == 0, ended
    assert out.read_bytes() == DATA
    assert peak <= MOST_PEAK, f"{peak >> 10} MiB of memory were in use at a time"
    assert packets <= MOST_PACKETS, f"{packets} packets were sent to the victim"


def hostile_router(folder: Path) -> None:
    """Answer a sharer that asks for a mapping, by every protocol, with nonsense."""
    source, out = folder / "x", folder / "out"
    source.write_bytes(DATA)
    with Namespace() as ours, Namespace() as router:
        here, there = join_by_veth(ours, router)
        ours.run("ip", "route", "replace", "default", "via", there)
        with (
            _attacker(router, "route", there),
            recorded(ours, folder / "packets", "v0"),
            shoal("share", source, env=NOWHERE, ns=ours) as sharer,
        ):
            link, port = link_of(sharer), peer_of(sharer).rpartition(":")[2]
            ours.run("sleep", str(FLOOD_TIME))
            args = ("get", link, "-o", out, "--peer", f"{here}:{port}")
            with shoal(*args, env={**NOWHERE, **ONLY_LAN}, ns=router) as getting:
                ended = getting.finish(PATIENCE)
            peak, said = peak_rss(sharer), sharer.stderr
        others = {*sent(folder / "packets", here)} - {there, "192.0.2.1"}
    assert ended.code == 0, ended
    assert "Reachable from the internet" not in said, said
    assert peak <= MOST_PEAK, f"{peak >> 10} MiB of memory were in use at a time"
    assert not {each for each in others if not each.startswith("239.")}, others


LAN: dict[str, Callable[[Path], None]] = {
    case.__name__: case for case in (multicast_flood, hostile_router)
}
"""All cases by name; each is given an empty folder."""


def _flood(topic: bytes, source: str, victim: str) -> None:
    packets, rng = hostile_packets(topic, random.Random(5)), random.Random(6)
    senders = []
    for address in (source, victim):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 0))
        interface = socket.inet_aton(address)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        senders.append(sock)
    while not select.select([sys.stdin], [], [], 0.005)[0]:
        for _ in range(50):
            senders[0].sendto(next(packets), (GROUP, MDNS_PORT))
            ports = [rng.randrange(1, 65_536) for _ in range(31)]
            forged = encode_response(topic, b"", [Address(SENDER, p) for p in ports])
            senders[1].sendto(forged, (GROUP, MDNS_PORT))


class _Router(asyncio.DatagramProtocol):
    """Answer each request several times, each time with other nonsense."""

    def __init__(self, address: str, http_port: int) -> None:
        self._url = f"http://{address}:{http_port}"
        self._numbers = count()
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        location = (self._url, "http://192.0.2.7", "http://127.0.0.1:1")
        number = next(self._numbers)
        where = location[number % 3]
        for answer in (
            bytes((2, 0x80 | data[1] & 0x7F, 0, 0)) + os.urandom(56),
            struct.pack(">BBHIHHI", 0, 130, 0, 1, 9, 9, 1),
            os.urandom(1400),
            f"HTTP/1.1 200 OK\r\nLOCATION: {where}/{number}.xml\r\n\r\n".encode(),
        ):
            self._transport.sendto(answer, addr)


async def _describe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a description that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<root>")
    try:
        while True:
            writer.write(b"<service>" * 4096)
            await writer.drain()
    except OSError:
        writer.close()


async def _route(address: str) -> None:
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(_describe, address, 0)
    port = server.sockets[0].getsockname()[1]
    for number in (SERVER_PORT, SSDP_PORT):
        await loop.create_datagram_endpoint(
            lambda: _Router(address, port), local_addr=(address, number)
        )
    await loop.run_in_executor(None, sys.stdin.read)


def main(argv: list[str]) -> None:
    """Run one of the programs."""
    match argv:
        case ["flood", topic, source, victim]:
            _flood(bytes.fromhex(topic), source, victim)
        case ["route", address]:
            asyncio.run(_route(address))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
