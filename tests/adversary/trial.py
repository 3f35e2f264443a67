"""Run one attack on the real command and check the command during and after it.

A `Sharer` is a running `shoal share`. `try_case` attacks it, downloads from it with an
honest command and raises `AssertionError` if a requirement of `run.py` fails.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlsplit
from urllib.request import urlopen

from shoal.core.limits import MAX_PAUSE, MAX_PAUSES
from tests.adversary.adv import LISTENERS
from tests.adversary.codes import CODES
from tests.adversary.floods import SHARES
from tests.adversary.gateways import GATEWAYS
from tests.adversary.http import Target
from tests.helpers.commands import (
    code_of,
    cpu_time,
    link_of,
    peak_rss,
    peer_of,
    rss,
    run,
    share,
)
from tests.helpers.process import Program

__all__ = ["Seen", "try_case", "try_gateway"]

# With this size, the last byte of a bitfield has spare bits.
SIZE = (6 << 20) + 11  # bytes of the shared file
RATE = 3 << 20  # bytes per second that the sharer sends, which makes times comparable
SLOWER = 1.5  # the longest permitted time, as a multiple of that without an attack
ATTEMPTS = 4  # slow downloads before the attack counts as their cause
MORE_MEMORY = 10 << 10  # KiB
MORE_EACH_TIME = 2 << 10  # KiB, in the last repetition
MOST_MEMORY = 32 << 10  # KiB, in all repetitions
MOST_PEAK = 256 << 10  # KiB in use at any time
REPEATS = 8
# On a busy machine all takes long. What an attack delays is told by comparison.
PATIENCE = 180.0  # seconds for one attack, or one download
WITHOUT_CHUNK = 60  # seconds without a chunk until an honest download gives up
RETURN_TIME = 10.0  # seconds for the memory to be given back, once all files are closed
# The sharer pauses reading from a flooding peer several times before it disconnects it;
# until then it does not notice that the peer has closed the connection.
SETTLE_TIME = (MAX_PAUSES + 1) * MAX_PAUSE + 5  # seconds until the sharer has recovered


@dataclass
class Seen:
    """The measurements of an attack that the sharer withstood."""

    honest: float
    """Seconds of a download without an attack."""
    slower: float
    """The time with the attack as a multiple of that without it."""
    memory: int
    """KiB that the sharer uses more than before the attack."""
    load: float
    """Fraction of a core that the sharer used during the attack."""


@dataclass
class Sharer:
    """A running `shoal share` with its link and address."""

    program: Program
    link: str
    code: str
    peer: str
    file: Path
    folder: Path

    @property
    def files(self) -> list[str]:
        """Return its open files, without numbers that differ each time."""
        folder = Path(f"/proc/{self.program.pid}/fd")
        open_files = []
        for each in list(folder.iterdir()):
            try:
                open_files.append(re.sub(r"\d{3,}", "…", os.readlink(each)))
            except FileNotFoundError:  # closed meanwhile
                continue
        return sorted(open_files)

    @property
    def cpu(self) -> float:
        """Return the CPU time that it has used, in seconds."""
        return cpu_time(self.program)

    def fetch(self, peers: Sequence[str] = ()) -> float:
        """Fetch its share with an honest command; return the time in seconds."""
        out = self.folder / "out"
        known = [word for peer in (self.peer, *peers) for word in ("--peer", peer)]
        begun = time.monotonic()
        known += ["--timeout", str(WITHOUT_CHUNK)]
        with run("get", self.link, "-o", out, *known) as program:
            ended = program.finish(PATIENCE)
        took = time.monotonic() - begun
        assert ended.code == 0, f"get ended with {ended.code}: {ended.stderr[-300:]}"
        assert out.read_bytes() == self.file.read_bytes(), "other bytes arrived"
        out.unlink()
        return took

    def attack(self, case: str) -> float:
        """Run the case and a download; return the time of the download in seconds."""
        known = ("--link", self.link, "--peer", self.peer, "--file", str(self.file))
        coded = ("--code", self.code) if self.code else ()
        argv = [sys.executable, "-m", "tests.adversary.adv", case, *known, *coded]
        with Program(argv, has_input=True) as program:
            if case in LISTENERS:
                where = program.wait_line(r"^\w+ (127\S+)$", stream="out")[1]
                took = self.fetch([where])
                program.end_input()
                code = program.finish(PATIENCE).code
            else:
                self.fetch()
                while program.running:
                    self.fetch()
                code = program.finish(PATIENCE).code
                took = self.fetch()
            said = program.stderr[-600:]
            assert code == 0, f"the attack failed a check: {said}"
        return took

    def memory(self, most: int) -> int:
        """Wait until `most` KiB are in use, or `RETURN_TIME`; return the KiB in use."""
        deadline = time.monotonic() + RETURN_TIME
        while rss(self.program) > most and time.monotonic() < deadline:
            time.sleep(0.1)
        return rss(self.program)

    def settle(self, usual: list[str]) -> None:
        """Wait until the sharer has closed the files that the attack opened."""
        deadline = time.monotonic() + SETTLE_TIME
        while len(self.files) > len(usual) and time.monotonic() < deadline:
            time.sleep(0.1)
        files = self.files
        more = [file for file in files if files.count(file) > usual.count(file)]
        assert len(files) <= len(usual), f"{len(files)} files, not {len(usual)}: {more}"
        assert self.program.running, "the sharer has ended"
        assert "Traceback" not in self.program.stderr, self.program.stderr[-600:]


@contextmanager
def sharing(case: str, folder: Path, file_limit: int | None) -> Iterator[Sharer]:
    """Start a sharer with its own folder, and with the share that a case needs."""
    file = folder / "source"
    size, words = SIZE, ["--limit-up", str(RATE)]
    if case in SHARES:
        size, chunk = SHARES[case]
        words = ["--chunk-size", chunk]
    if case in CODES:
        words += ["--code", "--code-for", "1h"]
    file.write_bytes(Random(1).randbytes(size))
    with share(file, *words) as program:
        if file_limit is not None:
            limit = f"--nofile={file_limit}"
            with Program(["prlimit", f"--pid={program.pid}", limit]) as prlimit:
                assert prlimit.finish().code == 0, "prlimit failed"
        link, code = link_of(program), ""
        if case in CODES:
            code = code_of(program)
        yield Sharer(program, link, code, peer_of(program), file, folder)


def try_case(case: str, folder: Path, file_limit: int | None) -> Seen:
    """Attack a new sharer; raise `AssertionError` if a requirement fails."""
    with sharing(case, folder, file_limit) as sharer:
        # The rate limit permits a burst to the first download.
        honest = [sharer.fetch(), sharer.fetch()][1]
        usual, files = rss(sharer.program), sharer.files
        begun, used = time.monotonic(), sharer.cpu
        took = sharer.attack(case)
        load = (sharer.cpu - used) / (time.monotonic() - begun)
        sharer.settle(files)
        peak = peak_rss(sharer.program)
        assert peak <= MOST_PEAK, f"{peak >> 10} MiB of memory were in use at a time"
        memory = sharer.memory(usual + MORE_MEMORY)
        if memory - usual > MORE_MEMORY:
            memory = until_level(case, sharer, files, memory)
        honest, took = until_fast(case, sharer, honest, took)
        return Seen(honest, took / honest, memory - usual, load)


def try_gateway(case: str, folder: Path) -> Seen:
    """Attack a new `shoal serve`; raise `AssertionError` if a requirement fails."""
    file = folder / "source"
    file.write_bytes(Random(1).randbytes(SIZE))
    with share(file) as program:
        words = ("serve", link_of(program), "--peer", peer_of(program))
        with run(*words) as serving:
            url = serving.wait_line("^http", stream="out").string + "files/0/source"
            honest = [_get(url, file), _get(url, file)][1]
            parts = urlsplit(url)
            assert parts.hostname is not None
            target = Target(parts.hostname, parts.port or 80, parts.path)
            sharer = Sharer(serving, "", "", "", file, folder)
            usual, files, used = rss(serving), sharer.files, sharer.cpu
            begun = time.monotonic()
            took = 0.0
            with ThreadPoolExecutor(1) as pool:
                attack = pool.submit(asyncio.run, GATEWAYS[case](target))
                while not attack.done() or not took:
                    took = max(took, _get(url, file))
                attack.result()
            load = (sharer.cpu - used) / (time.monotonic() - begun)
            sharer.settle(files)
            memory = sharer.memory(usual + MOST_MEMORY) - usual
            assert memory <= MOST_MEMORY, f"{memory} KiB more memory"
            assert peak_rss(serving) <= MOST_PEAK, "too much memory at a time"
            assert serving.stderr.count("\n") <= 1, serving.stderr[:300]
    return Seen(honest, took / honest, memory, load)


def _get(url: str, file: Path) -> float:
    """Fetch a URL, which has the bytes of `file`; return the time in seconds."""
    begun = time.monotonic()
    with urlopen(url, timeout=PATIENCE) as answer:
        assert answer.read() == file.read_bytes(), "other bytes arrived"
    return time.monotonic() - begun


def until_level(case: str, sharer: Sharer, files: list[str], memory: int) -> int:
    """Attack until the memory stops growing; return the KiB in use then.

    Freed memory is fragmented, so several repetitions may need more of it.
    """
    grown: list[int] = []
    while not grown or grown[-1] > MORE_EACH_TIME:
        assert len(grown) < REPEATS, f"more memory each time, in KiB: {grown}"
        sharer.attack(case)
        sharer.settle(files)
        grown.append(sharer.memory(memory + MORE_EACH_TIME) - memory)
        memory += grown[-1]
    assert sum(grown) <= MOST_MEMORY, f"{sum(grown)} KiB more memory than at first"
    return memory


def until_fast(
    case: str, sharer: Sharer, honest: float, took: float
) -> tuple[float, float]:
    """Return the times of two downloads, one without the attack and one with it.

    Other load on the machine may slow down either download, so the pair is repeated if
    the second one took too long. An attack that works slows down every repetition.
    """
    tried = [(honest, took)]
    while took > SLOWER * honest and len(tried) < ATTEMPTS:
        honest, took = sharer.fetch(), sharer.attack(case)
        tried.append((honest, took))
    said = ", ".join(
        f"{took:.1f} s with, {honest:.1f} s without the attack"
        for honest, took in tried
    )
    assert took <= SLOWER * honest, f"every download took too long: {said}"
    return honest, took
