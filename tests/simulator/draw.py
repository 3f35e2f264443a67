"""Draw a plan from one seed: anything at all, or one of the themes."""

from dataclasses import replace
from random import Random

from tests.simulator.draw_channels import add_channels
from tests.simulator.draw_nats import (
    add_nats,
    add_routers,
    draw_home_users,
    is_of_home_users,
)
from tests.simulator.draw_rare import draw_rare, is_rare
from tests.simulator.plan import (
    CHUNK,
    HORIZON,
    MAX_CHUNKS,
    MAX_NODES,
    RATES,
    THEMED,
    TIMEOUTS,
    Event,
    Job,
    Machine,
    Plan,
    Share,
    SitePlan,
)

__all__ = ["draw"]

BLOCKS = 256 * 1024  # bytes of a chunk of four blocks


def draw(seed: int) -> Plan:
    """Draw the plan of one seed."""
    rare = Random(f"rare {seed}")
    if is_rare(rare):
        return draw_rare(seed, rare)
    nats = Random(f"nat {seed}")
    if is_of_home_users(nats):
        plan = draw_home_users(seed, nats)
    else:
        plan = add_nats(_draw_any(seed, Random(f"plan {seed}")), nats)
    return add_routers(plan, Random(f"router {seed}"))


def _draw_any(seed: int, rng: Random) -> Plan:
    if rng.random() < THEMED:
        return draw_theme(seed, rng)
    sites = _draw_sites(rng)
    machines = _draw_machines(rng, sites)
    shares = _draw_shares(rng, len(machines))
    jobs = _draw_jobs(rng, machines, shares)
    plan = Plan(
        seed,
        sites,
        machines,
        shares,
        jobs,
        _draw_events(rng, machines, sites, shares),
        rng.choice([0.0, 0.0, 0.05, 0.2]),
    )
    return add_channels(plan, Random(f"open {seed}"))


def _draw_sites(rng: Random) -> tuple[SitePlan, ...]:
    count = rng.choice([1, 1, 1, 2, 2, 3])
    return tuple(SitePlan(rng.random() < 0.7, rng.random() < 0.3) for _ in range(count))


def _draw_machines(rng: Random, sites: tuple[SitePlan, ...]) -> tuple[Machine, ...]:
    # Mostly few: a small run finds most faults, and thirty nodes cost as much as
    # ten runs of three.
    count = rng.choice([1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8])
    if rng.random() < 0.04:
        count = rng.randint(9, MAX_NODES)
    style = rng.random()
    return tuple(
        Machine(
            number,
            rng.randrange(len(sites)) if number else 0,
            rng.choice([1, 1, 1, 2, 3]),
            rng.choice([0.0002, 0.001, 0.02, 0.1]),
            rng.random() < 0.15,
            rng.choice(RATES) if style < 0.5 else None,
            rng.choice(RATES) if style < 0.2 else None,
            rng.choice(["all", "all", "all", "named"]) if number else "all",
        )
        for number in range(count)
    )


def _draw_size(rng: Random, most: int) -> int:
    chunks = rng.choice([0, 0, 1, 1, 2, 3, rng.randint(1, most)])
    return max(0, chunks * CHUNK + rng.choice([-1, 0, 0, 1, rng.randrange(CHUNK)]))


def _draw_shares(rng: Random, machines: int) -> tuple[Share, ...]:
    shares = []
    for number in range(rng.choice([1, 1, 1, 2, 3])):
        if rng.random() < 0.5:
            size = _draw_size(rng, MAX_CHUNKS)
            files: tuple[tuple[str, int], ...] = (("", size),)
        else:
            names = ["a.bin", "b.tmp", "c/d.bin", "c/e.tmp", "f", "g/h/i.bin", "j.tmp"]
            rng.shuffle(names)
            chosen = sorted(names[: rng.randint(1, len(names))])
            each = max(1, MAX_CHUNKS // len(chosen))
            files = tuple((name, _draw_size(rng, each)) for name in chosen)
        owner = 0 if not number else rng.randrange(machines)
        begins_at = rng.choice([0.0, 0.0, 0.0, rng.random() * 10])
        shares.append(
            Share(
                number,
                owner,
                files,
                rng.random() < 0.2,
                begins_at,
                is_once=rng.random() < 0.15,
                has_origin=rng.random() < 0.15,
            )
        )
    return tuple(shares)


def _draw_jobs(
    rng: Random, machines: tuple[Machine, ...], shares: tuple[Share, ...]
) -> tuple[Job, ...]:
    jobs = []
    for share in shares:
        pattern = rng.choice(["", "", "*.tmp", "**/*.tmp"])
        if all(name.endswith(".tmp") or not name for name, _ in share.files):
            pattern = ""
        for machine in machines:
            if machine.number == share.owner or rng.random() < 0.15:
                continue
            is_read = rng.random() < 0.12
            jobs.append(
                Job(
                    machine.number,
                    share.number,
                    "read" if is_read else "fetch",
                    rng.choice([0.0, 0.0, 1.0, rng.random() * 15]),
                    rng.choice(TIMEOUTS),
                    rng.random() < 0.6,
                    "" if is_read else pattern,
                )
            )
    return tuple(jobs)


def _draw_events(
    rng: Random,
    machines: tuple[Machine, ...],
    sites: tuple[SitePlan, ...],
    shares: tuple[Share, ...],
) -> tuple[Event, ...]:
    """Draw pairs of events: what is broken is mended before the end."""
    kinds = ["kill", "kill", "power", "stop", "close", "full", "cut", "reset", "move"]
    kinds += ["crash", "wall", "liar", "caller", "edit", "trim"]
    if any(share.has_origin for share in shares):
        kinds += ["mute"] * 4
    events: list[Event] = []
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 5])):
        at = rng.random() * rng.choice([1.0, 5.0, HORIZON])
        pause = rng.choice([0.5, 3.0, 12.0, 30.0])
        machine = rng.randrange(len(machines))
        kind = rng.choice(kinds)
        events.append(Event(at, kind, machine, rng.random()))
        if kind in _MENDED and (kind != "kill" or rng.random() < 0.8):
            events.append(Event(at + pause, _MENDED[kind], machine))
    return tuple(sorted(events, key=lambda each: each.at))


_MENDED = {
    "kill": "start",
    "power": "start",
    "crash": "start",
    "stop": "resume",
    "full": "free",
    "cut": "heal",
    "mute": "unmute",
}
"""The event that ends the state which another one begins."""


# Themes: situations in which a fault was seen, with everything else drawn.


def draw_theme(seed: int, rng: Random) -> Plan:
    """Draw a situation that the general plan draws too rarely."""
    themes = [_crowd, _pattern, _waking, _restart, _names, _origin, _changed, _ranges]
    theme = rng.choice([*themes, _neighbours, _again])
    return theme(seed, rng)


def _lan(
    rng: Random, count: int, up: float | None, down: float | None = None
) -> tuple[tuple[SitePlan, ...], tuple[Machine, ...]]:
    """Return a LAN behind a NAT, whose first machine has the upload rate `up`."""
    latency = rng.choice([0.0002, 0.001, 0.02])
    machines = tuple(
        Machine(
            number,
            0,
            rng.choice([1, 1, 2]),
            latency,
            limit_up=None if number else up,
            limit_down=down if number else None,
        )
        for number in range(count)
    )
    return (SitePlan(True, False),), machines


def _crowd(seed: int, rng: Random) -> Plan:
    """Many downloaders behind one NAT, which cannot connect to each other."""
    source = Machine(0, 0, 1, 0.02)
    others = (
        Machine(number, 1, 1, 0.001, is_deaf=True)
        for number in range(1, rng.randint(7, 16))
    )
    machines = (source, *others)
    share = Share(0, 0, (("", rng.randint(1, 20) * CHUNK),))
    jobs = tuple(Job(m.number, 0, "fetch", 0.0) for m in machines[1:])
    sites = (SitePlan(False, False), SitePlan(True, False))
    return Plan(seed, sites, machines, (share,), jobs)


def _pattern(seed: int, rng: Random) -> Plan:
    """A crowd that leaves out some of the files."""
    sites, machines = _lan(rng, rng.randint(5, 9), 200e3)
    files = (("a.bin", rng.randint(40, 60) * CHUNK), ("b.tmp", 10 * CHUNK))
    jobs = tuple(
        Job(m.number, 0, "fetch", 0.0, exclude="**/*.tmp") for m in machines[1:]
    )
    return Plan(seed, sites, machines, (Share(0, 0, files),), jobs)


def _waking(seed: int, rng: Random) -> Plan:
    """A downloader is stopped for longer than its timeout."""
    sites, machines = _lan(rng, rng.randint(2, 4), 60e3)
    share = Share(0, 0, (("", rng.randint(30, MAX_CHUNKS) * CHUNK),))
    jobs = tuple(Job(m.number, 0, "fetch", 0.0, 20.0) for m in machines[1:])
    at = 0.5 + rng.random() * 5
    events = (Event(at, "stop", 1), Event(at + 30, "resume", 1))
    return Plan(seed, sites, machines, (share,), jobs, events)


def _restart(seed: int, rng: Random) -> Plan:
    """The source leaves, and all others are killed and started again."""
    sites, machines = _lan(rng, rng.randint(4, 6), 200e3, 60e3)
    share = Share(0, 0, (("", 30 * CHUNK),))
    jobs = tuple(Job(m.number, 0, "fetch", 0.0) for m in machines[1:])
    at = 3.0 + rng.random() * 5
    events = [Event(at, "kill", 0)]
    for machine in machines[1:]:
        when = at + rng.random()
        events.append(Event(when, "kill", machine.number))
        events.append(Event(when + 5, "start", machine.number))
    ordered = tuple(sorted(events, key=lambda each: each.at))
    return Plan(seed, sites, machines, (share,), jobs, ordered)


def _names(seed: int, rng: Random) -> Plan:
    """Nodes that know each other by a name only, and then nothing happens."""
    sites, machines = _lan(rng, rng.randint(3, 7), rng.choice(RATES))
    named = (replace(m, finds="named" if m.number else "all") for m in machines)
    share = Share(0, 0, (("", rng.randint(1, MAX_CHUNKS) * CHUNK),))
    jobs = tuple(
        Job(m.number, 0, "fetch", rng.choice([0.0, 3.0])) for m in machines[1:]
    )
    return Plan(seed, sites, tuple(named), (share,), jobs, quiet=60.0)


def _origin(seed: int, rng: Random) -> Plan:
    """The source leaves early, and an origin has what it did not send."""
    sites, machines = _lan(rng, rng.randint(3, 6), 60e3)
    size = rng.randint(20, MAX_CHUNKS) * CHUNK
    share = Share(0, 0, (("", size),), has_origin=True)
    jobs = tuple(Job(m.number, 0, "fetch", 0.0) for m in machines[1:])
    at = 1.5 + rng.random() * 3
    events = [Event(at, "kill", 0)]
    if rng.random() < 0.3:
        events += [Event(at + 1, "mute"), Event(at + 8, "unmute")]
    return Plan(seed, sites, machines, (share,), jobs, tuple(events))


def _changed(seed: int, rng: Random) -> Plan:
    """A file of the only source changes or ends early while it is fetched."""
    sites, machines = _lan(rng, rng.randint(2, 4), 60e3)
    share = Share(0, 0, (("", rng.randint(30, MAX_CHUNKS) * CHUNK),))
    jobs = tuple(Job(m.number, 0, "fetch", 0.0, 150.0) for m in machines[1:])
    kind = rng.choice(["edit", "trim"])
    events = (Event(0.5 + rng.random() * 2, kind, 0, rng.random()),)
    return Plan(seed, sites, machines, (share,), jobs, events)


def _ranges(seed: int, rng: Random) -> Plan:
    """Readers of small ranges of chunks that have several blocks."""
    sites, machines = _lan(rng, rng.randint(2, 5), rng.choice(RATES))
    size = rng.randint(1, 4) * BLOCKS + rng.choice([0, 1, rng.randrange(BLOCKS)])
    share = Share(0, 0, (("", size),), chunk=BLOCKS, has_origin=rng.random() < 0.2)
    jobs = tuple(
        Job(
            machine.number,
            0,
            "fetch" if rng.random() < 0.2 else "read",
            rng.choice([0.0, 0.0, rng.random() * 5]),
            rng.choice(TIMEOUTS),
        )
        for machine in machines[1:]
    )
    events = list(_draw_events(rng, machines, sites, (share,)))
    if rng.random() < 0.5:
        events.append(Event(rng.random(), "liar", 0, rng.random()))
    ordered = tuple(sorted(events, key=lambda each: each.at))
    return Plan(seed, sites, machines, (share,), jobs, ordered)


def _neighbours(seed: int, rng: Random) -> Plan:
    """The source is behind the same NAT as a liar that dials again and again."""
    outside = (Machine(n, 1, 1, 0.02) for n in range(1, rng.randint(2, 5)))
    machines = (Machine(0, 0, 1, 0.02), *outside)
    share = Share(0, 0, (("", rng.randint(5, 40) * CHUNK),))
    jobs = tuple(Job(m.number, 0, "fetch", 1.0 + rng.random()) for m in machines[1:])
    sites = (SitePlan(True, False), SitePlan(False, False))
    return Plan(seed, sites, machines, (share,), jobs, (Event(0.8, "caller", 0),))


def _again(seed: int, rng: Random) -> Plan:
    """Copies of some of the files are served again after a restart."""
    sites, machines = _lan(rng, rng.randint(3, 5), None)
    files = (("a.bin", rng.randint(3, 20) * CHUNK + 5), ("b.tmp", 3 * CHUNK))
    jobs = tuple(
        Job(m.number, 0, "fetch", 0.0, exclude="**/*.tmp") for m in machines[1:]
    )
    events: list[Event] = []
    for machine in machines[1:]:
        at = 8.0 + rng.random() * 4
        events.append(Event(at, rng.choice(["kill", "power"]), machine.number))
        events.append(Event(at + 3, "start", machine.number))
    ordered = tuple(sorted(events, key=lambda each: each.at))
    return Plan(seed, sites, machines, (Share(0, 0, files),), jobs, ordered)
