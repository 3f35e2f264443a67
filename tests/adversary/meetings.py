"""Attacks on machines of others through a node, and by a relay that lies."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

from shoal.core.dials import DIAL_BURST, DIAL_RATE, MAX_INTRODUCED_PORTS
from shoal.core.names.address import Address
from shoal.core.names.link import parse_link
from shoal.core.wire.sealed_messages import Meeting
from shoal.errors import PeerError
from tests.adversary.floods import Passenger
from tests.adversary.holders import learn
from tests.helpers.commands import cpu_time, free_port, link_of, peak_rss
from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import shoal

__all__ = ["MEETINGS"]

DATA = bytes(range(256)) * 8192
# A node that has no LAN and finds no DHT, but may talk to the internet: that of a
# namespace, where every address that begins with 60 is this machine.
INTERNET = {"SHOAL_NO_LAN": "1", "SHOAL_DHT_BOOTSTRAP": "192.0.2.1:6881"}
NODE, VICTIM = "60.0.0.1", "60.0.0.9"
TALKERS = 8  # peers that claim to have met the victim
FLOOD_TIME = 5.0  # seconds
PORTS = 40  # of the victim, in all
HOSTS = 400  # other victims that are named
MOST_JOINS = 100  # that a node asks a lying relay for
MOST_PEAK = 128 << 10  # KiB of memory
MOST_CPU = 5.0  # seconds of processor time
PATIENCE = 40.0  # seconds
PORT = 4001


def meetings_with_a_victim(folder: Path) -> None:
    """Claim, on several connections, to have met thousands of ports and hosts."""
    _inside(folder, "meet")


def relay_that_lies(folder: Path) -> None:
    """Join a node with nonsense, with itself, and with nobody, over and over."""
    _inside(folder, "relay")


def _inside(folder: Path, what: str) -> None:
    """Run one of the attacks in a namespace of its own."""
    (folder / "x").write_bytes(DATA)
    with Namespace() as namespace:
        namespace.run("ip", "route", "add", "local", "60.0.0.0/8", "dev", "lo")
        argv = [sys.executable, "-m", "tests.adversary.meetings", what, str(folder)]
        with Program(argv, namespace=namespace) as program:
            ended = program.finish(PATIENCE + 20)
    assert ended.code == 0, ended.stderr[-600:]


async def _meet(folder: Path) -> None:
    source = folder / "x"
    with shoal("share", source, "--port", PORT, "--no-map", env=INTERNET) as sharer:
        link = parse_link(link_of(sharer))
        holding = await learn(link, Address(NODE, PORT), source)
        dialled: Counter[tuple[str, int]] = Counter()
        async with AsyncExitStack() as stack:
            ports = []
            for _ in range(PORTS):
                note = partial(_note, dialled)
                server = await asyncio.start_server(note, VICTIM, 0)
                stack.callback(server.close)
                ports.append(server.sockets[0].getsockname()[1])
            for _ in range(HOSTS // 2):
                server = await asyncio.start_server(note, _host(len(ports)), 5000)
                stack.callback(server.close)
                ports.append(5000)
            await _claim(holding, ports, stack)
        with shoal(
            "get", link, "-o", folder / "out", "--peer", f"{NODE}:{PORT}"
        ) as got:
            ended = await asyncio.to_thread(got.finish, PATIENCE)
        assert ended.code == 0, ended
    at_victim = {port for host, port in dialled if host == VICTIM}
    assert len(at_victim) <= MAX_INTRODUCED_PORTS, at_victim
    assert max(dialled.values(), default=0) <= 1, dialled
    most = DIAL_BURST + DIAL_RATE * (FLOOD_TIME + 2)
    assert 0 < dialled.total() <= most, dialled.total()


def _host(number: int) -> str:
    return f"60.1.{number >> 8}.{number & 255}"


async def _claim(holding: object, ports: list[int], stack: AsyncExitStack) -> None:
    """Send meetings with the victim's ports and with other hosts, for a while."""
    talks = []
    for _ in range(TALKERS):
        holder = Passenger(holding, os.urandom(16))  # type: ignore[arg-type]
        stack.callback(holder.end)
        with suppress(PeerError):
            talks.append(await holder.dial(Address(NODE, PORT)))
    loop = asyncio.get_running_loop()
    end = loop.time() + FLOOD_TIME
    while loop.time() < end:
        for talk in talks:
            for number, port in enumerate(ports):
                host = VICTIM if number < PORTS else _host(number)
                if not talk.is_lost:
                    talk.send(Meeting(host, [port, port], 0))
        await asyncio.sleep(0.5)


async def _note(
    dialled: Counter[tuple[str, int]],
    _: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    dialled[writer.get_extra_info("sockname")[:2]] += 1
    writer.close()


class _LyingRelay:
    """Answer each node that wants to meet another in one of several wrong ways."""

    def __init__(self) -> None:
        self.joins = 0
        self._waiting: asyncio.StreamWriter | None = None

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one node."""
        request = await reader.readline()
        assert request.startswith(b"please relay ")
        self.joins += 1
        with suppress(OSError):
            match self.joins % 6:
                case 0:  # another end that never speaks
                    writer.write(b"ok\n")
                    await asyncio.sleep(1)
                case 1:  # garbage from another end
                    writer.write(b"ok\n" + os.urandom(100_000))
                    await writer.drain()
                case 2:  # the node itself
                    writer.write(b"ok\n")
                    while data := await reader.read(65_536):
                        writer.write(data)
                case 3:  # no relay at all, and endless
                    for _ in range(1000):
                        writer.write(b"SSH-2.0-relay\r\n" * 4096)
                        await writer.drain()
                case 4:  # an answer that trickles
                    for byte in b"ok":
                        writer.write(bytes([byte]))
                        await asyncio.sleep(0.3)
                case _:
                    pass
        writer.close()


async def _lie(folder: Path) -> None:
    relay, source = _LyingRelay(), folder / "x"
    server = await asyncio.start_server(relay.serve, "60.0.0.5", 0)
    at = f"60.0.0.5:{server.sockets[0].getsockname()[1]}"
    own, out = ("--no-map", "--relay", at), folder / "out"
    with shoal("share", source, "--port", PORT, *own, env=INTERNET) as sharer:
        link = link_of(sharer)
        # This one has only the relay, until it hears of the sharer's address.
        port = free_port()
        words = ("get", link, "-o", out, *own, "--port", port, "--timeout", PATIENCE)
        with shoal(*words, env=INTERNET) as getting:
            await asyncio.sleep(FLOOD_TIME * 2)
            peak = max(peak_rss(sharer), peak_rss(getting))
            cpu = max(cpu_time(sharer), cpu_time(getting))
            joins = relay.joins
            getting.kill()
        args = ("get", link, "-o", out, *own, "--peer", f"{NODE}:{PORT}")
        with shoal(*args, env=INTERNET) as getting:
            ended = await asyncio.to_thread(getting.finish, PATIENCE)
        assert sharer.running
    assert ended.code == 0, ended
    assert out.read_bytes() == DATA
    assert 3 < joins <= MOST_JOINS, f"{joins} connections to the relay"
    assert peak <= MOST_PEAK, f"{peak >> 10} MiB of memory were in use at a time"
    assert cpu <= MOST_CPU, f"{cpu} s of processor time"


MEETINGS: dict[str, Callable[[Path], None]] = {
    case.__name__: case for case in (meetings_with_a_victim, relay_that_lies)
}
"""All cases by name; each is given an empty folder."""


def main(what: str, folder: str) -> None:
    """Run one of the attacks."""
    asyncio.run({"meet": _meet, "relay": _lie}[what](Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
