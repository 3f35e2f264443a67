"""Attacks of one host that takes what all hosts share: places, and time of a core."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from qh3.quic.connection import QuicConnection

from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.udp_knock import Kind, is_made, make, udp_key
from shoal.core.names.address import Address
from shoal.core.names.code import parse_code
from shoal.core.names.link import parse_link
from shoal.errors import PeerError
from shoal.transport.quic.connection import configuration
from shoal.transport.quic.endpoint import ACCEPT_BURST, ACCEPT_RATE
from tests.adversary.meetings import INTERNET, NODE, PORT
from tests.helpers.codes import dial
from tests.helpers.commands import code_of, cpu_time, link_of
from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import shoal

__all__ = ["CROWDS"]

ATTACKER, HONEST = "60.0.0.9", "60.0.0.77"
SOCKETS = 300  # more than a node has places for peers that dial by UDP
DIALLERS = 4  # that flood a code together
BEGUN_AFTER = 3.0  # seconds of a flood until the honest receiver begins
FLOOD_TIME = 4.0  # seconds
START_TIME = 20.0  # seconds for the UDP socket of a sharer to open
ANSWER_TIME = 2.0  # seconds
PATIENCE = 60.0  # seconds


def _inside(case: str, folder: Path) -> None:
    """Run one of the attacks in a namespace of its own."""
    (folder / "x").write_bytes(bytes(1 << 20))
    with Namespace() as namespace:
        namespace.run("ip", "route", "add", "local", "60.0.0.0/8", "dev", "lo")
        argv = [sys.executable, "-m", "tests.adversary.crowds", case, str(folder)]
        with Program(argv, namespace=namespace) as program:
            ended = program.finish(PATIENCE)
    assert ended.code == 0, ended.stderr[-600:]


@contextmanager
def _sharing(folder: Path, *words: object) -> Iterator[Program]:
    args = ("share", folder / "x", "--port", PORT, "--no-map", *words)
    with shoal(*args, env=INTERNET) as sharer:
        link_of(sharer)
        yield sharer
        assert sharer.running


def code_flood_of_one_host(folder: Path) -> None:
    """Connect with a code again and again from one host, and prove nothing."""
    with _sharing(folder, "--code") as sharer:
        asyncio.run(_flood_code(str(code_of(sharer)), folder))


async def _flood_code(text: str, folder: Path) -> None:
    code, flooded = parse_code(text), Address("::1", PORT)

    async def flood() -> None:
        while True:
            with suppress(PeerError, OSError):
                (await dial(code, flooded)).abort()
            await asyncio.sleep(0.002)

    floods = [asyncio.create_task(flood()) for _ in range(DIALLERS)]
    await asyncio.sleep(BEGUN_AFTER)
    words = ("get", text, "-o", folder / "out", "--timeout", 15)
    with shoal(*words, "--peer", f"{NODE}:{PORT}", env=INTERNET) as getting:
        ended = await asyncio.to_thread(getting.finish, PATIENCE)
    for each in floods:
        each.cancel()
    await asyncio.wait(floods)
    assert ended.code == 0, ended


class _Holder:
    """A link holder behind a UDP socket of its own."""

    def __init__(self, host: str, key: bytes) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self._key = key

    def knock(self, timeout: float = ANSWER_TIME) -> bool:
        """Knock, and show that we receive the answer; return False without one."""
        nonce = os.urandom(16)
        self._send(make(self._key, Kind.KNOCK, nonce))
        self.socket.settimeout(timeout)
        with suppress(TimeoutError):
            while True:
                answer = self.socket.recv(2048)
                if is_made(self._key, Kind.ACCEPT, answer, nonce):
                    self._send(make(self._key, Kind.REPLY, nonce, answer[:16]))
                    return True
        return False

    def begin(self, timeout: float = ANSWER_TIME) -> bool:
        """Begin a QUIC connection; return True if the sharer answers."""
        quic = QuicConnection(configuration=configuration(is_client=True))
        quic.connect((NODE, PORT), time.monotonic())
        for data, _ in quic.datagrams_to_send(time.monotonic()):
            self._send(data)
        self.socket.settimeout(timeout)
        with suppress(TimeoutError):
            return bool(self.socket.recv(2048))
        return False

    def garble(self) -> None:
        """Send a datagram of the size of a knock that is none."""
        self._send(os.urandom(48))

    def _send(self, data: bytes) -> None:
        self.socket.sendto(data, (NODE, PORT))


@contextmanager
def _holders(sharer: Program) -> Iterator[Callable[[str], _Holder]]:
    """Yield what makes holders, once the sharer answers knocks."""
    key = udp_key(derive_keys(parse_link(link_of(sharer)).id).psk)
    with ExitStack() as stack:

        def holder(host: str) -> _Holder:
            made = _Holder(host, key)
            stack.callback(made.socket.close)
            return made

        first, end = holder(HONEST), time.monotonic() + START_TIME
        while not first.knock(0.2):
            assert time.monotonic() < end, "no answer by UDP"
        yield holder


def quic_places_of_one_host(folder: Path) -> None:
    """Take every place of peers that dial by UDP, from many ports of one host."""
    with _sharing(folder) as sharer, _holders(sharer) as holder:
        for _ in range(SOCKETS):
            holder(ATTACKER).knock()
        other = holder(HONEST)
        assert other.knock(), "a knock was not answered"
        assert other.begin(), "a peer of another host got no place"


def quic_handshakes_of_one_host(folder: Path) -> None:
    """Begin one QUIC connection after the other, so that each costs a handshake."""
    with _sharing(folder) as sharer, _holders(sharer) as holder:
        start, begun = time.monotonic(), 0
        while (passed := time.monotonic() - start) < FLOOD_TIME:
            attacker = holder(ATTACKER)
            begun += attacker.knock() and attacker.begin(0.5)
        most = ACCEPT_BURST + ACCEPT_RATE * (passed + ANSWER_TIME)
        assert begun <= most, f"{begun} handshakes in {passed:.0f} s"


def udp_garbage_of_one_host(folder: Path) -> None:
    """Send datagrams that no share makes, as fast as the sharer takes them."""
    with _sharing(folder) as sharer, _holders(sharer) as holder:
        attacker, end = holder(ATTACKER), time.monotonic() + FLOOD_TIME
        cpu, number = cpu_time(sharer), 0
        while time.monotonic() < end:
            attacker.garble()
            number += 1
            time.sleep(0.0005)
        cpu = cpu_time(sharer) - cpu
        other = holder(HONEST)
        assert other.knock(), f"not heard after {number} datagrams, {cpu:.1f} s"
        assert other.begin()


_CASES = (
    code_flood_of_one_host,
    quic_places_of_one_host,
    quic_handshakes_of_one_host,
    udp_garbage_of_one_host,
)

CROWDS: dict[str, Callable[[Path], None]] = {
    case.__name__: partial(_inside, case.__name__) for case in _CASES
}
"""All cases by name; each is given an empty folder."""


if __name__ == "__main__":
    {each.__name__: each for each in _CASES}[sys.argv[1]](Path(sys.argv[2]))
