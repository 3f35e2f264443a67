"""One honest source, and peers that lie, stall or send endless requests."""

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program

from benchmarks.files import digest_of, make_file
from benchmarks.measure import clean_environment, run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers import SealedShare

__all__ = ["FAST_WORKLOAD", "WORKLOAD"]

MIB = 1024 * 1024
RATE = 8 * MIB  # bytes per second that the slow source sends
HONEST = "honest alone"
GOAL = "at most 1.5"

LYING = ("FlipsABit", "SendsAnother", "SendsZeroes", "SendsShort")
IDLING = ("Silent", "StallsHalfway", "Drips", "AnnouncesMissing", "RefusesAll")
BESIDE: dict[str, Sequence[str]] = {
    "flips a bit": LYING[:1],
    "sends another chunk": LYING[1:2],
    "sends zeroes": LYING[2:3],
    "sends too little": LYING[3:],
    "stalls half-way": IDLING[1:2],
    "drips a byte a second": IDLING[2:3],
    "announces missing chunks": IDLING[3:4],
    "refuses all": IDLING[4:],
    "9 liars of 10": tuple(islice(cycle(LYING), 9)),
    "9 of 10 send nothing": tuple(islice(cycle(IDLING), 9)),
}
"""The peers in addition to the honest source, by the name of the side."""
GREEDY = "requests a million, reads none"


@dataclass(frozen=True)
class Scene:
    """The share and the paths that all sides use."""

    namespace: Namespace
    share: SealedShare
    file: Path
    digest: str
    target: Path

    @property
    def source(self) -> str:
        """Return the address of the honest source."""
        return f"127.0.0.1:{self.share.port}"

    def start(self, stack: ExitStack, module: str, *args: object) -> Program:
        """Start one of the misbehaving programs."""
        known = ("--link", self.share.link, "--peer", self.source)
        argv = [sys.executable, "-m", f"tests.adversary.{module}", *map(str, args)]
        program = Program(
            [*argv, *known],
            namespace=self.namespace,
            env=clean_environment(),
            has_input=True,
        )
        return stack.enter_context(program)


def prepare(setup: Setup, *, size: int, rate: int | None) -> Sequence[Side]:
    """Start the honest source; each run starts and ends the other peers."""
    namespace = setup.stack.enter_context(Namespace())
    file = setup.scratch / "source"
    digest = make_file(file, size)
    home = setup.scratch / "home"
    options = ("--limit-up", rate) if rate else ()
    share = SealedShare.start(setup.stack, namespace, file, home, *options)
    scene = Scene(namespace, share, file, digest, setup.scratch / "target")
    sides = [Side(HONEST, partial(_run, scene, ()))]
    sides += [Side(name, partial(_run, scene, kinds)) for name, kinds in BESIDE.items()]
    return [*sides, Side(GREEDY, partial(_run_greedy, scene))]


def _run(scene: Scene, kinds: Sequence[str]) -> Sample:
    with ExitStack() as stack:
        peers: list[str] = []
        if kinds:
            args = ("--file", scene.file, *kinds)
            holders = scene.start(stack, "holders", *args)
            holders.wait_line("^ready$", stream="out")
            peers = [each[1] for each in holders.find(r"^\w+ (127\S+)$")]
            assert len(peers) == len(kinds)
        return _fetch(scene, peers)


def _run_greedy(scene: Scene) -> Sample:
    with ExitStack() as stack:
        greedy = scene.start(stack, "adv", "a_million_chunks", "--repeat")
        greedy.wait_line("^attacking$", stream="out")
        sample = _fetch(scene, ())
        assert greedy.running
        return sample


def _fetch(scene: Scene, peers: Sequence[str]) -> Sample:
    """Fetch the share once with the real command, which gets all addresses."""
    more = [word for peer in peers for word in ("--peer", peer)]
    argv = scene.share.get_argv("127.0.0.1", scene.target, "--json", *more)
    outcome = run_client(argv, namespace=scene.namespace)
    assert digest_of(scene.target) == scene.digest, "what arrived is not what was sent"
    scene.target.unlink()
    banned = re.findall(rb'"state":"banned"', outcome.stdout)
    return {
        "wall": outcome.wall,
        "cpu": outcome.cpu,
        "peak": outcome.memory.peak,
        "banned": len(banned),
    }


def _make(name: str, size: int, rate: int | None) -> Workload:
    pace = f"sends {rate // MIB} MiB per second" if rate else "sends at full speed"
    return Workload(
        name=name,
        title=f"{size // MIB} MiB from one honest source, with misbehaving peers",
        how=(
            f"A sealed share on loopback, whose source {pace}. The bad peers have the "
            "link and start to misbehave after the handshake. The client knows all of "
            "them from the start and dials them in random order. Liars answer every "
            "request at once with data that does not verify. Peers that send nothing "
            "claim to have everything; one of them sends correct chunks until the "
            "client has half of the file. In the last line, a peer requests as many "
            "chunks from the source as it can during the whole run, and reads none. "
            "Times are those of the whole command."
        ),
        columns=(
            Column("wall", "wall s"),
            Column("cpu", "CPU s"),
            Column("peak", "peak MiB", 1, 1 / MIB),
            Column("banned", "peers banned", 0),
        ),
        ratios=tuple(
            Ratio(f"time, {name} : {HONEST}", "wall", name, HONEST, GOAL)
            for name in (*BESIDE, GREEDY)
        )
        + tuple(
            Ratio(f"memory, {name} : {HONEST}", "peak", name, HONEST)
            for name in ("9 liars of 10", "9 of 10 send nothing")
        ),
        prepare=partial(prepare, size=size, rate=rate),
    )


WORKLOAD = _make("liars", 32 * MIB, RATE)
FAST_WORKLOAD = _make("liars-fast", 768 * MIB, None)
