"""Draw situations in which faults were seen that other plans meet once in thousands.

They have a generator of their own, so the plan of every other seed is what it was
before they were drawn.
"""

from random import Random

from tests.simulator.nat import CHANGING, SYMMETRIC
from tests.simulator.plan import (
    CHUNK,
    MAX_CHUNKS,
    Event,
    Job,
    Machine,
    Plan,
    Share,
    SitePlan,
)

__all__ = ["draw_rare", "is_rare"]

RARE = 0.08  # part of the seeds
SHARED_AT_ONCE = 3  # by a node that is closed at that time
SHARING_TIME = 0.006  # seconds in which a small file is hashed and served


def is_rare(rng: Random) -> bool:
    """Return True if a seed draws `draw_rare`."""
    return rng.random() < RARE


def draw_rare(seed: int, rng: Random) -> Plan:
    """Draw one of these situations, with everything else drawn."""
    draws = [_slow_server, _compared, _origin_border, _hasty, _shortened, _outnumbered]
    return rng.choice([*draws, _two_addresses])(seed, rng)


def _lan(rng: Random, count: int, up: float | None) -> tuple[Machine, ...]:
    """Return machines of one site, of which the first has the upload rate `up`."""
    latency = rng.choice([0.0002, 0.001, 0.02])
    return tuple(
        Machine(number, 0, rng.choice([1, 1, 2]), latency, limit_up=up)
        if not number
        else Machine(number, 0, 1, latency)
        for number in range(count)
    )


def _plan(
    seed: int,
    machines: tuple[Machine, ...],
    shares: tuple[Share, ...],
    jobs: tuple[Job, ...],
    events: list[Event],
) -> Plan:
    ordered = tuple(sorted(events, key=lambda each: each.at))
    return Plan(seed, (SitePlan(True, False),), machines, shares, jobs, ordered)


def _slow_server(seed: int, rng: Random) -> Plan:
    """The server of a named channel is stopped when its clients connect."""
    machines = _lan(rng, rng.randint(2, 4), None)
    share = Share(0, 0, (("", rng.randint(1, 12) * CHUNK),), open="name")
    jobs = tuple(
        Job(m.number, 0, rng.choice(["fetch", "read"]), 1.0 + rng.random() * 4)
        for m in machines[1:]
    )
    events = [Event(0.5, "stop", 0), Event(rng.choice([3.0, 8.0, 15.0]), "resume", 0)]
    if rng.random() < 0.5:
        events.append(Event(2.0 + rng.random() * 6, "close", 1))
    return _plan(seed, machines, (share,), jobs, events)


def _compared(seed: int, rng: Random) -> Plan:
    """Copies of a hash channel are compared again, and servers lie about its size."""
    machines = _lan(rng, rng.randint(3, 5), None)
    size = rng.randint(1, 12) * CHUNK - rng.randrange(3)
    share = Share(0, 0, (("", size),), open="hash")
    jobs = tuple(Job(m.number, 0, "fetch", 0.0) for m in machines[1:])
    events = [Event(20.0 + rng.random(), "liar", 0) for _ in range(rng.randint(3, 8))]
    for machine in machines[1:]:
        for at in range(22, 52, 10):
            events += [
                Event(at + rng.random() * 5, "kill", machine.number),
                Event(at + 6, "start", machine.number),
            ]
    return _plan(seed, machines, (share,), jobs, events)


def _origin_border(seed: int, rng: Random) -> Plan:
    """An origin has the chunk in which the chosen file ends, which no node keeps."""
    machines = _lan(rng, rng.randint(3, 6), 60e3)
    size = rng.randint(20, MAX_CHUNKS // 2) * CHUNK + rng.randrange(1, CHUNK)
    files = (("a.bin", size), ("b.tmp", 3 * CHUNK))
    share = Share(0, 0, files, has_origin=True)
    jobs = tuple(
        Job(m.number, 0, "fetch", 0.0, exclude="**/*.tmp") for m in machines[1:]
    )
    events = [Event(1.5 + rng.random() * 3, "kill", 0)]
    if rng.random() < 0.5:
        at = 3.0 + rng.random() * 4
        events += [Event(at, "mute"), Event(at + rng.choice([3.0, 8.0]), "unmute")]
    return _plan(seed, machines, (share,), jobs, events)


def _hasty(seed: int, rng: Random) -> Plan:
    """Nodes are closed just as they begin to serve."""
    machines = _lan(rng, rng.randint(2, 5), None)
    begins = [1.0 + rng.random() * 5 for _ in machines]
    shares = tuple(
        Share(
            SHARED_AT_ONCE * m.number + n,
            m.number,
            (("", rng.randint(0, 20) * CHUNK),),
            begins_at=begins[m.number] + rng.random() * SHARING_TIME,
        )
        for m in machines
        for n in range(SHARED_AT_ONCE)
    )
    jobs = tuple(
        Job(m.number, share.number, "fetch", 0.0)
        for m in machines
        for share in shares
        if share.owner != m.number and rng.random() < 0.2
    )
    events = [
        Event(at + rng.random() * 2 * SHARING_TIME, "close", number)
        for number, at in enumerate(begins)
    ]
    return _plan(seed, machines, shares, jobs, events)


def _shortened(seed: int, rng: Random) -> Plan:
    """The file of a source is shortened while its process is stopped."""
    machines = _lan(rng, rng.randint(2, 3), 60e3)
    share = Share(0, 0, (("", rng.randint(30, MAX_CHUNKS) * CHUNK),))
    jobs = tuple(Job(m.number, 0, "fetch", 0.0, 150.0) for m in machines[1:])
    at = 0.5 + rng.random() * 3
    events = [
        Event(at, "stop", 0),
        Event(at + 1, "trim", 0, rng.random() / 2),
        Event(at + rng.choice([5.0, 12.0, 20.0]), "resume", 0),
    ]
    return _plan(seed, machines, (share,), jobs, events)


def _outnumbered(seed: int, rng: Random) -> Plan:
    """A source that no node can dial comes after twenty liars behind the same NAT."""
    outside = (Machine(n, 1, 1, 0.02) for n in range(1, rng.randint(2, 5)))
    machines = (Machine(0, 0, 1, 0.02), *outside)
    share = Share(0, 0, (("", rng.randint(5, 40) * CHUNK),))
    jobs = tuple(Job(m.number, 0, "fetch", 1.0 + rng.random()) for m in machines[1:])
    nat = rng.choice([CHANGING, SYMMETRIC])
    inside = SitePlan(True, False, nat=nat)
    events = (
        Event(0.8, "caller", 0),
        Event(0.9, "cut", 0, 0.5),
        Event(22.0 + rng.random() * 3, "heal", 0),
    )
    sites = (inside, SitePlan(False, False))
    return Plan(seed, sites, machines, (share,), jobs, events)


def _two_addresses(seed: int, rng: Random) -> Plan:
    """A crowd fetches from a slow source that has two addresses."""
    latency = 0.02  # so that all choose before they see what the others chose
    source = Machine(0, 0, 2, latency, limit_up=200e3)
    others = (Machine(n, 0, rng.choice([1, 2]), latency) for n in range(1, 9))
    machines = (source, *others)
    share = Share(0, 0, (("", rng.randint(30, 50) * CHUNK),))
    jobs = tuple(Job(m.number, 0, "fetch", 0.0) for m in machines[1:])
    return _plan(seed, machines, (share,), jobs, [])
