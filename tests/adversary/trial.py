"""One attack on the real command: what must hold meanwhile and after it.

A `Sharer` is a `shoal share` of its own. `try_case` attacks it, fetches from it as
somebody honest, and raises `AssertionError` if anything did not hold.
"""

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from shoal.core.limits import MAX_PAUSE, MAX_PAUSES
from tests.adversary.adv import LISTENERS
from tests.helpers.commands import peer_of, rss, run, share
from tests.helpers.process import Program

__all__ = ["Seen", "try_case"]

# So many that the last byte of a bitfield has spare bits.
SIZE = (6 << 20) + 11  # bytes that are shared
RATE = 3 << 20  # bytes per second that the sharer gives, so that times mean something
SLOWER = 1.5  # times as long as without an attack, at most
ATTEMPTS = 4  # until a download that takes longer is the attack's work
MORE_MEMORY = 10 << 10  # KiB
MORE_EACH_TIME = 2 << 10  # KiB, once it was repeated often enough
MOST_MEMORY = 32 << 10  # KiB, by all repetitions
REPEATS = 8
PATIENCE = 60.0  # seconds for one attack
# Who has said too much is not listened to for a while, and then again, until it is
# given up: that it has hung up is not seen behind what it said before.
SETTLE_TIME = (MAX_PAUSES + 1) * MAX_PAUSE + 5  # seconds until what it left is gone


@dataclass
class Seen:
    """What is worth knowing of an attack that came to nothing."""

    honest: float
    """Seconds of a download while nobody attacks."""
    slower: float
    """Times as long as that, with the attack."""
    memory: int
    """KiB more than before it, once it is over."""
    load: float
    """Share of a core that the sharer used."""


@dataclass
class Sharer:
    """A running `shoal share`, and what is known of it."""

    program: Program
    link: str
    peer: str
    file: Path
    folder: Path

    @property
    def files(self) -> list[str]:
        """Return what it has open, without numbers that differ each time."""
        folder = Path(f"/proc/{self.program.pid}/fd")
        open_files = []
        for each in list(folder.iterdir()):
            try:
                open_files.append(re.sub(r"\d{3,}", "…", os.readlink(each)))
            except FileNotFoundError:  # closed since
                continue
        return sorted(open_files)

    @property
    def cpu(self) -> float:
        """Return the seconds of processor it has used."""
        fields = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2]
        used = sum(map(int, fields.split()[11:13]))
        return used / os.sysconf("SC_CLK_TCK")

    def fetch(self, peers: Sequence[str] = ()) -> float:
        """Fetch what it shares as somebody honest; return how long that took."""
        out = self.folder / "out"
        told = [word for peer in (self.peer, *peers) for word in ("--peer", peer)]
        begun = time.monotonic()
        with run("get", self.link, "-o", out, "--timeout", 20, *told) as program:
            ended = program.finish(PATIENCE)
        took = time.monotonic() - begun
        assert ended.code == 0, f"get ended with {ended.code}: {ended.stderr[-300:]}"
        assert out.read_bytes() == self.file.read_bytes(), "other bytes arrived"
        out.unlink()
        return took

    def attack(self, case: str) -> float:
        """Run the case, and see that others are served; return how fast that is."""
        known = ("--link", self.link, "--peer", self.peer, "--file", str(self.file))
        argv = [sys.executable, "-m", "tests.adversary.adv", case, *known]
        with Program(argv, has_input=True) as program:
            if case in LISTENERS:
                where = program.wait_line(r"^\w+ (127\S+)$", stream="out")[1]
                took = self.fetch([where])
                program.end_input()
                code = program.finish(PATIENCE).code
            else:
                self.fetch()
                code = program.finish(PATIENCE).code
                took = self.fetch()
            said = program.stderr[-600:]
            assert code == 0, f"the attack saw what it should not: {said}"
        return took

    def settle(self, usual: list[str]) -> None:
        """Wait until what the attack left behind is gone."""
        deadline = time.monotonic() + SETTLE_TIME
        while len(self.files) > len(usual) and time.monotonic() < deadline:
            time.sleep(0.1)
        files = self.files
        more = [file for file in files if files.count(file) > usual.count(file)]
        assert len(files) <= len(usual), f"{len(files)} files, not {len(usual)}: {more}"
        assert self.program.running, "the sharer has ended"
        assert "Traceback" not in self.program.stderr, self.program.stderr[-600:]


@contextmanager
def sharing(folder: Path, file_limit: int | None) -> Iterator[Sharer]:
    """Start a sharer that has a folder to itself."""
    file = folder / "source"
    file.write_bytes(Random(1).randbytes(SIZE))
    with share(file, "--limit-up", RATE) as program:
        if file_limit is not None:
            limit = f"--nofile={file_limit}"
            with Program(["prlimit", f"--pid={program.pid}", limit]) as prlimit:
                assert prlimit.finish().code == 0, "prlimit does not work"
        link = program.wait_line("^shoal:", stream="out").string
        yield Sharer(program, link, peer_of(program), file, folder)


def try_case(case: str, folder: Path, file_limit: int | None) -> Seen:
    """Attack a new sharer; raise `AssertionError` if anything did not hold."""
    with sharing(folder, file_limit) as sharer:
        # The first one is served while a burst may go out at once.
        honest = [sharer.fetch(), sharer.fetch()][1]
        usual, files = rss(sharer.program), sharer.files
        begun, used = time.monotonic(), sharer.cpu
        took = sharer.attack(case)
        load = (sharer.cpu - used) / (time.monotonic() - begun)
        sharer.settle(files)
        memory = rss(sharer.program)
        if memory - usual > MORE_MEMORY:
            memory = until_level(case, sharer, files, memory)
        honest, took = until_fast(case, sharer, honest, took)
        return Seen(honest, took / honest, memory - usual, load)


def until_level(case: str, sharer: Sharer, files: list[str], memory: int) -> int:
    """Attack until that takes no more memory; return how many KiB are used by then.

    What was freed lies in pieces, so it takes some times until all fits in there.
    """
    grown: list[int] = []
    while not grown or grown[-1] > MORE_EACH_TIME:
        assert len(grown) < REPEATS, f"each time more memory, in KiB: {grown}"
        sharer.attack(case)
        sharer.settle(files)
        grown.append(rss(sharer.program) - memory)
        memory += grown[-1]
    assert sum(grown) <= MOST_MEMORY, f"{sum(grown)} KiB more memory than at first"
    return memory


def until_fast(
    case: str, sharer: Sharer, honest: float, took: float
) -> tuple[float, float]:
    """Return the times of a pair of downloads, without the attack and with it.

    Other programs of the machine slow down either of the two, so a pair in which the
    second took too long is tried again; an attack that works does so each time.
    """
    tried = [(honest, took)]
    while took > SLOWER * honest and len(tried) < ATTEMPTS:
        honest, took = sharer.fetch(), sharer.attack(case)
        tried.append((honest, took))
    said = ", ".join(f"{took:.1f} s beside {honest:.1f} s" for honest, took in tried)
    assert took <= SLOWER * honest, f"each download took too long: {said}"
    return honest, took
