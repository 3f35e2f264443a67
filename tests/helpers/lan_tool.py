"""LAN discovery as a program, which a test can run inside a namespace.

python -m tests.helpers.lan_tool join ID [PORT] [INTERFACE…]
    prints "ready", then "found HOST:PORT" for each address, and "problem TEXT" when
    the problem changes; with PORT 0 it searches without announcing
python -m tests.helpers.lan_tool hold [UDP-PORT]
    binds port 5353 exclusively, as some programs do, and prints "held"
python -m tests.helpers.lan_tool speak SOURCE ID PORT
    multicasts one unsolicited answer from the address SOURCE
python -m tests.helpers.lan_tool speak-with-question SOURCE ID PORT
    the same, with the question section that dns-discovery sends
python -m tests.helpers.lan_tool flood ID COUNT
    multicasts hostile packets about the channel ID and others, prints "sent"
"""

import asyncio
import hashlib
import random
import socket
import sys
import time
from collections.abc import Iterator

from shoal.core.names.address import Address
from shoal.discovery.lan.client import LanDiscovery
from shoal.discovery.lan.packets import SENDER, encode_query, encode_response
from shoal.discovery.lan.sockets import GROUP, MDNS_PORT, open_socket

_POLL = 0.05  # seconds between checks of `problem`, which has no notification
_BURST = (
    100  # packets before a pause; without pauses the kernel would drop most packets
)


def topic_of(channel: str) -> bytes:
    """Return the topic of an open channel, as in discovery-channel 5."""
    return hashlib.sha1(channel.encode()).digest()


def hostile_packets(topic: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield endless packets: other topics, false peers, damaged packets."""
    while True:
        other = rng.randbytes(20)
        spoofed = [Address(f"10.9.{rng.randrange(256)}.1", 80)] * 31
        mine = [Address(SENDER, rng.randrange(1, 65536)) for _ in range(31)]
        answer = encode_response(topic, rng.randbytes(32), mine)
        loop = encode_query(topic)[:12] + b"\xc0\x0c" * 700
        yield encode_query(other)
        yield encode_query(topic)
        yield encode_response(other, b"x" * 100, spoofed)
        yield encode_response(topic, b"", spoofed)
        yield answer
        yield answer[: rng.randrange(len(answer))]
        yield loop + b"\x0ddns-discovery"
        yield answer[:-1] + b"\xff" * 9000
        yield rng.randbytes(rng.randrange(600))


async def _join(channel: str, port: int | None, interfaces: list[str]) -> None:
    async with LanDiscovery(interfaces=interfaces) as discovery:
        watcher = asyncio.create_task(_watch(discovery))
        _say("ready")
        async for address in discovery.join(topic_of(channel), port):
            _say(f"found {address}")
        await watcher


async def _watch(discovery: LanDiscovery) -> None:
    said: str | None = None
    while True:
        if discovery.problem != said:
            said = discovery.problem
            _say(f"problem {said}")
        await asyncio.sleep(_POLL)


def _hold(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", port))
        _say("held")
        while True:
            sock.recv(1)


def _speak(source: str, channel: str, port: int) -> None:
    with _sender(source) as sock:
        packet = encode_response(topic_of(channel), b"", [Address(SENDER, port)])
        sock.sendto(packet, (GROUP, MDNS_PORT))


def _speak_with_question(source: str, channel: str, port: int) -> None:
    topic = topic_of(channel)
    answer = encode_response(topic, b"", [Address(SENDER, port)])
    question = encode_query(topic)[12:]
    packet = answer[:4] + b"\0\1" + answer[6:12] + question + answer[12:]
    sock, _ = open_socket(source)
    with sock:
        sock.sendto(packet, (GROUP, MDNS_PORT))


def _flood(channel: str, count: int) -> None:
    packets = hostile_packets(topic_of(channel), random.Random(5))
    with _sender("127.0.0.1") as sock:
        for sent in range(count):
            sock.sendto(next(packets), (GROUP, MDNS_PORT))
            if sent % _BURST == 0:
                time.sleep(0.005)
    _say("sent")


def _sender(source: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((source, 0))
    interface = socket.inet_aton(source)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    return sock


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def main(argv: list[str]) -> None:
    """Run one of the programs."""
    match argv:
        case ["join", channel, port, *interfaces]:
            asyncio.run(_join(channel, int(port) or None, interfaces))
        case ["join", channel]:
            asyncio.run(_join(channel, None, []))
        case ["hold", *port]:
            _hold(int(port[0]) if port else MDNS_PORT)
        case ["speak", source, channel, port]:
            _speak(source, channel, int(port))
        case ["speak-with-question", source, channel, port]:
            _speak_with_question(source, channel, int(port))
        case ["flood", channel, count]:
            _flood(channel, int(count))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
