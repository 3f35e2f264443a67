"""Write every packet of an interface to a file; run inside a namespace.

python -m tests.helpers.capture FILE [INTERFACE]
    prints "ready", records until standard input ends, then prints "done"; INTERFACE
    is `lo` unless it is named

Each packet follows its length in four bytes; `datagrams` reads the UDP datagrams and
`destinations` the addresses. `recorded` runs this as a program.
"""

import select
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.helpers.netns import Namespace
from tests.helpers.process import Program

__all__ = [
    "Datagram",
    "datagrams",
    "destinations",
    "ipv6_destinations",
    "recorded",
    "sent",
]

ALL = 0x0003  # every protocol (ETH_P_ALL, packet(7))
ETHERNET = 14  # bytes of the length before each packet
LARGEST = 1 << 17  # bytes; packets on `lo` have up to 64 KiB


class Datagram(NamedTuple):
    """A UDP datagram over IPv4."""

    ports: frozenset[int]
    """The ports of both ends."""
    data: bytes


def datagrams(path: Path) -> Iterator[Datagram]:
    """Yield every datagram in a capture file."""
    for packet in _packets(path):
        if packet[9] == socket.IPPROTO_UDP:
            header = 4 * (packet[0] & 15)
            ports = struct.unpack_from(">HH", packet, header)
            yield Datagram(frozenset(ports), packet[header + 8 :])


def destinations(path: Path) -> set[str]:
    """Return the addresses that the packets in a capture file were sent to."""
    return {socket.inet_ntoa(packet[16:20]) for packet in _packets(path)}


def ipv6_destinations(path: Path) -> set[str]:
    """Return those of IPv6 packets, without what the kernel sends itself (ICMPv6)."""
    return {
        socket.inet_ntop(socket.AF_INET6, packet[24:40])
        for packet in _packets(path, 6)
        if packet[6] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
    }


def sent(path: Path, source: str) -> list[str]:
    """Return the address that each packet from `source` in a file was sent to."""
    wanted = socket.inet_aton(source)
    return [
        socket.inet_ntoa(packet[16:20])
        for packet in _packets(path)
        if packet[12:16] == wanted
    ]


@contextmanager
def recorded(
    namespace: Namespace, path: Path, interface: str = "wan"
) -> Iterator[None]:
    """Write every packet of an interface to a file meanwhile."""
    argv = [sys.executable, "-m", "tests.helpers.capture", str(path), interface]
    with Program(argv, namespace=namespace, has_input=True) as program:
        program.wait_line("ready")
        yield
        program.end_input()
        program.wait_line("done")


def _packets(path: Path, version: int = 4) -> Iterator[bytes]:
    """Yield every packet of IP, of a version, without its Ethernet header."""
    seen, place = path.read_bytes(), 0
    while place < len(seen):
        (size,) = struct.unpack_from(">I", seen, place)
        packet = seen[place + 4 + ETHERNET : place + 4 + size]
        place += 4 + size
        if packet[:1] and packet[0] >> 4 == version:
            yield packet


def main(path: str, interface: str = "lo") -> None:
    """Run with the arguments of the command line."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL)) as tap,
        open(path, "wb") as file,
    ):
        tap.bind((interface, 0))
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        say("ready")
        while True:
            ready, _, _ = select.select([tap, sys.stdin], [], [])
            if tap in ready:
                packet = tap.recv(LARGEST)
                file.write(struct.pack(">I", len(packet)) + packet)
            elif ready:
                break
    say("done")


def say(word: str) -> None:
    """Print a line at once."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
