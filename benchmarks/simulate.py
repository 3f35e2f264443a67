"""Simulate a swarm: `scripts/bench simulate --peers 10000 --compiled`.

The simulation runs shoal's own picker, peer book and decisions under a simulated clock
and network. The same arguments have the same outcome, except for the processor time.
"""

import argparse
import gc
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.simulation import report
from benchmarks.simulation.compiled import run_compiled
from benchmarks.simulation.crowd import Crowd
from benchmarks.simulation.outcome import simulate
from benchmarks.simulation.picks import COUNTS, measure_picks
from benchmarks.simulation.scenario import EQUAL, MIXED, Scenario

DOCS = Path(__file__).parent.parent / "docs"
SHOWN = 5.0  # simulated seconds between two lines of progress


def main(words: list[str]) -> int:
    """Simulate the swarm that `words` describe and print the outcome."""
    options = _parse(words)
    if options.draw:
        report.draw(DOCS)
        return 0
    if options.compiled:
        rest = [word for word in words if word != "--compiled"]
        return run_compiled([*rest, "--docs", str(options.docs)])
    if options.picks:
        _measure_picks(options)
        return 0
    scenario = Scenario(
        downloaders=options.peers,
        chunks=options.chunks,
        chunk_size=options.chunk_size,
        uplinks=MIXED if options.mixed else EQUAL,
        neighbours=options.neighbours,
        leavers=options.leavers,
        liars=options.liars,
        sessions=options.sessions,
        seed=options.seed,
    )
    # The simulation makes no reference cycles; looking for them takes a third longer.
    gc.disable()
    crowd = Crowd(scenario)
    crowd.clock.later(SHOWN, _show, crowd)
    outcome = simulate(crowd)
    print(report.say(outcome))
    if options.write:
        report.add(options.docs, scenario, outcome, _command(words), _where())
    return 0


def _measure_picks(options: argparse.Namespace) -> None:
    found = [measure_picks(count, options.seed) for count in COUNTS]
    for each in found:
        print(f"{each.chunks:9,} chunks: {each.seconds * 1e6:.1f} us a pick")
    if options.write:
        report.add_picks(options.docs, found, _where())


def _where() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}, {machine.describe()}"


def _command(words: list[str]) -> str:
    rest = [word for word in words if word != "--write"]
    if "--docs" in rest:
        at = rest.index("--docs")
        rest[at : at + 2] = ["--compiled"]
    return " ".join(["scripts/bench simulate", *rest])


def _show(crowd: Crowd) -> None:
    """Print the progress to standard error."""
    here = [each for each in crowd.downloaders if not each.is_gone]
    got = sum(each.have.count for each in here) / max(1, len(here))
    done = sum(each.finished is not None for each in here)
    text = f"  {crowd.clock.now:.0f} s: {got:.0f} chunks each, {done} complete"
    print(text, file=sys.stderr, flush=True)
    crowd.clock.later(SHOWN, _show, crowd)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("scripts/bench simulate", allow_abbrev=False)
    add = parser.add_argument
    add("--peers", type=int, default=100, help="downloaders [100]")
    add("--chunks", type=int, default=1024, help="chunks of the share [1024]")
    add("--chunk-size", type=int, default=1 << 20, help="bytes of each [1 MiB]")
    add(
        "--mixed",
        action="store_true",
        help="uplinks of 20 to 500 Mbit/s instead of 100",
    )
    add(
        "--neighbours",
        type=int,
        default=40,
        help="connections of each peer, at most [40]",
    )
    add("--leavers", type=float, default=0.0, help="fraction that leaves half-way [0]")
    add(
        "--liars",
        type=float,
        default=0.0,
        help="fraction of additional peers that lie [0]",
    )
    add("--seed", type=int, default=1, help="seed of all random choices [1]")
    add("--sessions", action="store_true", help="encode and decode every message")
    add("--picks", action="store_true", help="measure the cost of a pick instead")
    add(
        "--compiled",
        action="store_true",
        help="compile first, which is several times faster",
    )
    add(
        "--write", action="store_true", help="record the result in docs/simulation.json"
    )
    add("--draw", action="store_true", help="only draw the recorded results")
    add("--docs", type=Path, default=DOCS, help=argparse.SUPPRESS)
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
