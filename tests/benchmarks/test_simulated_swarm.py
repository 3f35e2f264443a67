"""A simulated swarm of the real code, without sockets, real time or randomness.

Large swarms are run by `scripts/bench simulate`; see docs/simulation.md.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.simulation.crowd import Crowd
from benchmarks.simulation.outcome import Outcome, simulate
from benchmarks.simulation.post import SessionPost
from benchmarks.simulation.scenario import Scenario
from msgspec.structs import replace

LAN = Scenario(
    downloaders=8,
    chunks=384,
    chunk_size=64 * 1024,
    uplinks=(5e6,),
    latency=0.0005,
    arrival=0.05,
)
CROWD = Scenario(downloaders=30, chunks=256)
SMALL = Scenario(
    downloaders=20,
    chunks=64,
    chunk_size=16 * 1024,
    uplinks=(1e6,),
    leavers=0.3,
    liars=0.1,
)


ROOT = Path(__file__).parents[2]


def printed(*words: str) -> list[str]:
    """Return what a simulation prints, without the processor time."""
    argv = [sys.executable, "-m", "benchmarks.simulate", *words]
    output = subprocess.check_output(argv, cwd=ROOT, text=True)
    return output.splitlines()[:-1]


def run(scenario: Scenario) -> tuple[Crowd, Outcome]:
    """Simulate a swarm; return it with its outcome, without the processor time."""
    crowd = Crowd(scenario)
    return crowd, replace(simulate(crowd), processor=0.0)


@pytest.mark.parametrize(("downloaders", "seed"), [(8, 1), (8, 2), (8, 3), (16, 1)])
def test_a_swarm_on_a_lan_ends_near_the_bound_with_little_more_than_one_copy_sent(
    downloaders: int, seed: int
) -> None:
    crowd, outcome = run(replace(LAN, downloaders=downloaders, seed=seed))
    assert all(node.have.is_complete for node in crowd.downloaders)
    assert outcome.over <= 1.10
    assert outcome.copies <= 1.10
    assert outcome.twice <= 0.01
    # Every downloader serves.
    assert all(node.sent > LAN.chunks / 4 for node in crowd.downloaders)


def test_a_distant_swarm_ends_near_the_bound_with_few_duplicates_and_messages() -> None:
    crowd, outcome = run(CROWD)
    assert all(node.have.is_complete for node in crowd.downloaders)
    # With a quarter of the chunks, the start has four times the weight.
    assert outcome.over <= 1.40
    assert outcome.twice <= 0.01
    assert outcome.control_share <= 0.005


def test_downloaders_that_stay_complete_although_others_leave_and_lie() -> None:
    crowd, outcome = run(replace(CROWD, leavers=0.5, liars=0.05))
    stay = [n for n in crowd.downloaders if n.number not in crowd.leavers]
    assert all(node.have.is_complete for node in stay)
    assert sum(node.is_gone for node in crowd.downloaders) == len(crowd.leavers)
    assert crowd.banned
    assert outcome.wrong <= 0.05


def test_the_same_seed_has_the_same_outcome_and_another_seed_does_not() -> None:
    first, again, other = (run(replace(SMALL, seed=seed))[1] for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_real_sessions_have_the_same_outcome() -> None:
    _, meant = run(SMALL)
    crowd, said = run(replace(SMALL, sessions=True))
    assert said == meant
    # The counted control bytes are those of the sessions, plus those of TLS.
    assert isinstance(crowd.post, SessionPost)
    counted = crowd.tally
    kinds = ("request", "have", "cancel", "refuse", "response")
    messages = sum(counted.messages.get(kind, 0) for kind in kinds)
    without_tls = sum(counted.bytes.get(kind, 0) for kind in kinds) - 22 * messages
    assert crowd.post.sent == pytest.approx(without_tls, rel=0.25)


@pytest.mark.long
@pytest.mark.timeout(900)  # half a minute on an idle machine
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_compiled_simulation_has_the_same_outcome() -> None:
    words = ("--peers", "8", "--chunks", "32", "--leavers", "0.2", "--liars", "0.2")
    plain = printed(*words)
    assert "copies" in "".join(plain)
    assert printed(*words, "--compiled") == plain
