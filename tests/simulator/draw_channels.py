"""Add open channels to some of the plans: their owners, clients, liars and faults.

They have a generator of their own, so the plan of a seed is otherwise what it was
before open channels were simulated.
"""

from dataclasses import replace
from random import Random

from tests.simulator.plan import (
    CHUNK,
    TIMEOUTS,
    Event,
    Job,
    Machine,
    Plan,
    Share,
    SitePlan,
)

__all__ = ["add_channels"]

OPENED = 0.25  # part of the plans that get open channels
ALONE = 0.25  # part of these that have one open channel and nothing else
MAX_OPEN_CHUNKS = 12  # each client takes a whole copy from the servers there are


def add_channels(plan: Plan, rng: Random) -> Plan:
    """Return the plan, perhaps with one or two open channels more."""
    if len(plan.machines) < 2 or rng.random() >= OPENED:
        return plan
    if rng.random() < ALONE:
        return _draw_alone(plan.seed, rng)
    for _ in range(rng.choice([1, 1, 2])):
        share = _draw_share(plan, rng)
        shares = (*plan.shares, share)
        events = [*plan.events, *_draw_events(share, len(shares), rng)]
        plan = replace(
            plan,
            shares=shares,
            jobs=(*plan.jobs, *_draw_jobs(plan, share, rng)),
            events=tuple(sorted(events, key=lambda each: each.at)),
        )
    return plan


def _draw_alone(seed: int, rng: Random) -> Plan:
    """A slow server, its clients, servers that lie, and an end in the middle."""
    machines = tuple(
        Machine(number, 0, 1, 0.001, limit_up=None if number else 30e3)
        for number in range(rng.randint(2, 5))
    )
    size = rng.randint(1, MAX_OPEN_CHUNKS) * CHUNK + rng.choice([0, -1, 1, -CHUNK // 2])
    share = Share(
        0,
        0,
        (("", size),),
        open=rng.choice(["hash", "hash", "name"]),
        hides_sizes=rng.random() < 0.3,
    )
    plan = Plan(seed, (SitePlan(True, False),), machines, (share,), ())
    jobs = _draw_jobs(plan, share, rng)
    events = [
        Event(rng.random() * 2, "liar", 0) for _ in range(rng.choice([0, 0, 1, 1, 3]))
    ]
    at = 0.5 + rng.random() * 5
    match rng.choice(["none", "close", "kill", "edit", "trim"]):
        case "none":
            pass
        case "kill":
            events += [Event(at, "kill", 0), Event(at + 3, "start", 0)]
        case kind:
            events.append(Event(at, kind, 0, rng.random()))
    ordered = tuple(sorted(events, key=lambda each: each.at))
    return replace(plan, jobs=jobs, events=ordered)


def _draw_share(plan: Plan, rng: Random) -> Share:
    chunks = rng.choice([0, 1, 1, 2, 3, rng.randint(1, MAX_OPEN_CHUNKS)])
    size = max(0, chunks * CHUNK + rng.choice([-1, 0, 0, 1, rng.randrange(CHUNK)]))
    return Share(
        len(plan.shares),
        rng.randrange(len(plan.machines)),
        (("", size),),
        begins_at=rng.choice([0.0, 0.0, rng.random() * 10]),
        open=rng.choice(["hash", "hash", "name"]),
        hides_sizes=rng.random() < 0.25,
    )


def _draw_jobs(plan: Plan, share: Share, rng: Random) -> tuple[Job, ...]:
    kinds = ["fetch", "fetch", "fetch", "read"]
    if share.size:
        kinds.append("chunk")
    return tuple(
        Job(
            machine.number,
            share.number,
            rng.choice(kinds),
            rng.choice([0.0, 0.0, 1.0, rng.random() * 15]),
            rng.choice(TIMEOUTS),
            rng.random() < 0.6,
        )
        for machine in plan.machines
        if machine.number != share.owner and rng.random() < 0.85
    )


def _draw_events(share: Share, count: int, rng: Random) -> list[Event]:
    """Draw liars on this channel, and changes of its file."""
    events: list[Event] = []
    if rng.random() < 0.3:
        which = (share.number + 0.5) / count  # as the event finds its share
        events.append(Event(rng.random() * 5, "liar", share.owner, which))
    if rng.random() < 0.15:
        kind = rng.choice(["edit", "trim"])
        events.append(Event(rng.random() * 5, kind, share.owner, rng.random()))
    return events
