"""Run attacks against the real command, and see that nothing came of them.

python -m tests.adversary.run --all
python -m tests.adversary.run CASE…

Each case gets a `shoal share` of its own, in a network namespace that this makes for
itself, so no packet leaves the machine. While and after the attack an honest
`shoal get` fetches. What has to hold:

1. the sharer is alive;
2. the honest download is identical and takes at most 1.5 times what it takes when
   nobody attacks;
3. the sharer's memory is back within 10 MiB of that after such a download; or, where
   the allocator keeps more of it, attacking once more does not add to that;
4. its open files are back, to the number;
5. no traceback on anybody's standard error.

It says a line a case, and ends with 1 if anything did not hold. A case that is not
over in a minute has failed. `--file-limit N` bounds the files of each sharer.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.adversary.adv import ATTACKS, LISTENERS
from tests.helpers.commands import peer_of, rss, run, share
from tests.helpers.netns import Namespace, missing_namespaces
from tests.helpers.process import Program

# So many that the last byte of a bitfield has spare bits.
SIZE = (6 << 20) + 11  # bytes that are shared
RATE = 3 << 20  # bytes per second that the sharer gives, so that times mean something
SLOWER = 1.5  # times as long as without an attack, at most
MORE_MEMORY = 10 << 10  # KiB
MORE_EACH_TIME = 2 << 10  # KiB
PATIENCE = 60.0  # seconds for one attack
SETTLE_TIME = 15.0  # seconds until what an attack left behind must be gone
INSIDE = "SHOAL_ADVERSARY_NAMESPACE"
# A case of its own: half-open connections beyond what the sharer may have files for.
FEW_FILES = {"half_open": 128}


@dataclass
class Sharer:
    """A running `shoal share`, and what is known of it."""

    program: Program
    link: str
    peer: str
    file: Path
    folder: Path

    @property
    def files(self) -> int:
        """Return how many files it has open."""
        return len(os.listdir(f"/proc/{self.program.pid}/fd"))

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


@contextmanager
def sharing(folder: Path, file_limit: int | None) -> Iterator[Sharer]:
    """Start a sharer."""
    file = folder / "source"
    if not file.exists():
        file.write_bytes(Random(1).randbytes(SIZE))
    with share(file, "--limit-up", RATE) as program:
        if file_limit is not None:
            limit = f"--nofile={file_limit}"
            with Program(["prlimit", f"--pid={program.pid}", limit]) as prlimit:
                assert prlimit.finish().code == 0, "prlimit does not work"
        link = program.wait_line("^shoal:", stream="out").string
        yield Sharer(program, link, peer_of(program), file, folder)


@dataclass
class Usual:
    """What a sharer is like that nobody attacks."""

    time: float
    memory: int
    files: int


def measure(folder: Path) -> Usual:
    """Fetch twice from a sharer that nobody attacks."""
    with sharing(folder, None) as sharer:
        times = [sharer.fetch() for _ in range(3)]
        return Usual(sorted(times)[1], rss(sharer.program), sharer.files)


def start(case: str, sharer: Sharer) -> Program:
    """Start the program that attacks."""
    known = ("--link", sharer.link, "--peer", sharer.peer, "--file", str(sharer.file))
    argv = [sys.executable, "-m", "tests.adversary.adv", case, *known]
    return Program(argv, has_input=True)


def attack(case: str, sharer: Sharer, usual: Usual) -> str:
    """Run one case; return what is worth knowing, raise `AssertionError`."""
    begun, used = time.monotonic(), sharer.cpu
    took = attack_once(case, sharer)
    load = (sharer.cpu - used) / (time.monotonic() - begun)
    assert took <= SLOWER * usual.time, f"a download took {took:.1f} s"
    settle(sharer, usual)
    memory = rss(sharer.program)
    if memory - usual.memory > MORE_MEMORY:
        attack_once(case, sharer)
        settle(sharer, usual)
        more = rss(sharer.program) - memory
        assert more <= MORE_EACH_TIME, f"{more} KiB more memory each time"
    more = memory - usual.memory
    return f"{took / usual.time:4.2f}x time {more:+6} KiB {load:4.0%} of a core"


def attack_once(case: str, sharer: Sharer) -> float:
    """Run one case, and see that others are served; return how fast that is."""
    with start(case, sharer) as program:
        if case in LISTENERS:
            where = program.wait_line(r"^\w+ (127\S+)$", stream="out")[1]
            took = sharer.fetch([where])
            program.end_input()
            code = program.finish(PATIENCE).code
        else:
            sharer.fetch()
            code = program.finish(PATIENCE).code
            took = min(sharer.fetch() for _ in range(2))
        assert code == 0, f"the attack saw what it should not: {program.stderr[-600:]}"
    return took


def settle(sharer: Sharer, usual: Usual) -> None:
    """Wait until what the attack left behind is gone."""
    deadline = time.monotonic() + SETTLE_TIME
    while sharer.files > usual.files and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sharer.files <= usual.files, f"{sharer.files} files, not {usual.files}"
    assert sharer.program.running, "the sharer has ended"
    assert "Traceback" not in sharer.program.stderr, sharer.program.stderr[-600:]


def run_all(cases: Sequence[str], file_limit: int | None) -> int:
    """Run these cases; return how many failed."""
    folder = Path(tempfile.mkdtemp(prefix="shoal-adversary-"))
    os.environ["XDG_DATA_HOME"] = str(folder)
    failed = 0
    try:
        usual = measure(folder)
        say(f"nobody attacks: {usual.time:.1f} s, {usual.memory} KiB, {usual.files} fd")
        for case in cases:
            name, _, limit = case.partition("@")
            try:
                with sharing(folder, int(limit) if limit else file_limit) as sharer:
                    say(f"ok      {case:28} {attack(name, sharer, usual)}")
            except AssertionError as error:
                failed += 1
                say(f"FAILED  {case:28} {' '.join(str(error).split())[-500:]}")
    finally:
        shutil.rmtree(folder)
    say(f"{len(cases) - failed} of {len(cases)} held")
    return failed


def say(text: str) -> None:
    """Write a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Do what the module says."""
    known = [*ATTACKS, *(f"{name}@{limit}" for name, limit in FEW_FILES.items())]
    known += LISTENERS
    parser = argparse.ArgumentParser(prog="run")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--file-limit", type=int)
    args = parser.parse_args()
    unknown = [case for case in args.cases if case not in known]
    if unknown or not (args.cases or args.all):
        say("\n".join(known))
        return 2
    if INSIDE not in os.environ:
        problem = missing_namespaces()
        assert problem is None, problem
        with Namespace() as namespace:
            os.environ[INSIDE] = "1"
            argv = [sys.executable, "-m", "tests.adversary.run", *sys.argv[1:]]
            return os.spawnvp(os.P_WAIT, "nsenter", namespace.command(argv))
    return min(run_all(known if args.all else args.cases, args.file_limit), 1)


if __name__ == "__main__":
    sys.exit(main())
