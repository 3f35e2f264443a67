"""Add open channels to some of the plans: their owners, clients, liars and faults.

They have a generator of their own, so the plan of a seed is otherwise what it was
before open channels were simulated.
"""

from dataclasses import replace
from random import Random

from tests.simulator.plan import CHUNK, TIMEOUTS, Event, Job, Plan, Share

__all__ = ["add_channels"]

OPENED = 0.25  # part of the plans that get open channels
MAX_OPEN_CHUNKS = 12  # each client takes a whole copy from the servers there are


def add_channels(plan: Plan, rng: Random) -> Plan:
    """Return the plan, perhaps with one or two open channels more."""
    if len(plan.machines) < 2 or rng.random() >= OPENED:
        return plan
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
