"""Downloads survive network failures, changed addresses and suspended machines.

The download continues within ten seconds, without a restart. Each machine is a network
namespace; between them is a router that can silently drop all packets.
"""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import link_of
from tests.helpers.netns import Namespace, join_by_veth
from tests.helpers.process import Program
from tests.helpers.programs import shoal

HEALED = 10.0  # seconds within which the download must continue
RATE = "700K"
SLOW = ("--limit-up", RATE, "--chunk-size", "64K", "--port", 4001)
SIZE = 32 << 20  # bytes; more than a test fetches at this rate
PEERS_ONLY = {"SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}
ON_THE_LAN = {"SHOAL_LAN_ONLY": "1"}
pytestmark = pytest.mark.usefixtures("namespace")  # skips the tests without namespaces


class Fetching:
    """A running download with its progress."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @property
    def done(self) -> int:
        """Return the verified bytes that it has reported."""
        lines = self.program.find(r'"done":(\d+)')
        return int(lines[-1][1]) if lines else 0

    def wait_for_progress(self, within: float = 20.0) -> None:
        """Wait until the chunks of half a second have arrived."""
        enough = self.done + (350 << 10)
        deadline = time.monotonic() + within
        count = len(self.program.find('"done"'))
        while self.done < enough:
            count += 1
            left = deadline - time.monotonic()
            self.program.wait_line('"done"', left, count=count)


@contextmanager
def two_machines(subnet: str) -> Iterator[tuple[Namespace, Namespace, str, str]]:
    """Yield two machines on one network, and their addresses."""
    with Namespace() as left, Namespace() as right:
        yield left, right, *join_by_veth(left, right, subnet=subnet)


class Router:
    """A router between two machines, which forwards or drops their packets."""

    def __init__(self, left: Namespace, right: Namespace, middle: Namespace) -> None:
        self._middle = middle
        self.left_address, here = join_by_veth(left, middle, subnet="10.77.1")
        middle.run("ip", "link", "set", "v1", "name", "w1")
        there, _ = join_by_veth(middle, right, subnet="10.77.2")
        middle.run("ip", "route", "del", "default")
        left.run("ip", "route", "replace", "default", "via", here)
        right.run("ip", "route", "replace", "default", "via", there)
        self.passes(True)

    def passes(self, is_open: bool) -> None:
        """Forward all packets from now on, or drop them."""
        switch = "/proc/sys/net/ipv4/ip_forward"
        self._middle.run("sh", "-c", f"echo {int(is_open)} > {switch}")


@contextmanager
def fetching(
    source: Path,
    out: Path,
    machines: tuple[Namespace, Namespace],
    env: dict[str, str],
    peer: str | None = None,
) -> Iterator[tuple[Program, Fetching]]:
    """Share on one machine and fetch on the other; yield both programs."""
    left, right = machines
    with ExitStack() as stack:
        sharing = shoal("share", source, *SLOW, ns=left, env=env)
        stack.enter_context(sharing)
        link = link_of(sharing)
        sharing.wait_line("Ctrl-C", stream="err")
        words = ["get", link, "-o", out, "--json", *(["--peer", peer] if peer else [])]
        getting = stack.enter_context(shoal(*words, ns=right, env=env))
        there = Fetching(getting)
        there.wait_for_progress()
        yield sharing, there


def outlives(source: Path, out: Path, outages: list[float]) -> None:
    """Check that a download continues after outages of this many seconds."""
    with Namespace() as left, Namespace() as middle, Namespace() as right:
        router = Router(left, right, middle)
        peer = f"{router.left_address}:4001"
        machines = (left, right)
        with fetching(source, out, machines, PEERS_ONLY, peer) as (_, there):
            for seconds in outages:
                router.passes(False)
                time.sleep(seconds)
                router.passes(True)
                there.wait_for_progress(HEALED)
                assert there.program.running


def test_a_download_continues_soon_after_a_partition(
    make_file: MakeFile, tmp_path: Path
) -> None:
    # After 15 s, TCP alone would wait for more than ten seconds before it retries.
    outlives(make_file(SIZE, 1), tmp_path / "out", [15.0])


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_download_continues_soon_after_partitions_of_any_length(
    make_file: MakeFile, tmp_path: Path
) -> None:
    rng = random.Random(7)
    outages = [rng.uniform(0.0, 40.0) for _ in range(18)] + [70.0, 100.0]
    outlives(make_file(4 * SIZE, 1), tmp_path / "out", outages)


def test_a_download_continues_when_addresses_change(
    make_file: MakeFile, tmp_path: Path
) -> None:
    source, out = make_file(SIZE, 1), tmp_path / "out"
    with two_machines("10.77.0") as (left, right, here, there):
        with fetching(source, out, (left, right), ON_THE_LAN) as (_, getting):
            change_address(left, "v0", here, "10.77.0.9")
            getting.wait_for_progress(HEALED)
            change_address(right, "v1", there, "10.77.0.8")
            getting.wait_for_progress(HEALED)


def test_a_node_restricted_to_an_interface_follows_its_address(
    make_file: MakeFile, tmp_path: Path
) -> None:
    source, out = make_file(1 << 20, 1), tmp_path / "out"
    only = {**ON_THE_LAN, "SHOAL_INTERFACES": "v0"}
    with two_machines("10.77.0") as (left, right, here, _):
        with shoal("share", source, ns=left, env=only) as sharing:
            link = link_of(sharing)
            change_address(left, "v0", here, "10.77.0.9")
            got = shoal(
                "get", link, "-o", out, "--timeout", 20, ns=right, env=ON_THE_LAN
            )
            with got:
                assert got.finish().code == 0, got.stderr
    assert out.read_bytes() == source.read_bytes()


def change_address(machine: Namespace, device: str, old: str, new: str) -> None:
    """Give a machine another address on the same network."""
    machine.run("ip", "addr", "del", f"{old}/24", "dev", device)
    machine.run("ip", "addr", "add", f"{new}/24", "dev", device)
    machine.run("ip", "route", "replace", "default", "dev", device)


@pytest.mark.parametrize(("who", "seconds"), [("sharer", 4.0), ("both", 12.0)])
def test_a_download_continues_when_machines_wake_up(
    who: str, seconds: float, make_file: MakeFile, tmp_path: Path
) -> None:
    source, out = make_file(SIZE, 1), tmp_path / "out"
    with two_machines("10.77.0") as (left, right, here, _):
        peer = f"{here}:4001"
        machines = (left, right)
        with fetching(source, out, machines, PEERS_ONLY, peer) as (sharing, there):
            asleep = [sharing] if who == "sharer" else [sharing, there.program]
            for each in asleep:
                each.send(signal.SIGSTOP)
            time.sleep(seconds)
            for each in asleep:
                each.send(signal.SIGCONT)
            there.wait_for_progress(HEALED)
