"""Draw the kinds of the NATs, and situations in which holes are punched.

They have a generator of their own, so the plan of a seed is otherwise what it was
before kinds of NATs were simulated.
"""

from collections import Counter
from dataclasses import replace
from random import Random

from tests.simulator.nat import CHANGING, PRESERVING, SYMMETRIC
from tests.simulator.plan import (
    CHUNK,
    MAX_BEHIND_FORWARD,
    Event,
    Job,
    Machine,
    Plan,
    Share,
    SitePlan,
)

__all__ = ["add_nats", "add_routers", "draw_home_users", "is_of_home_users"]

HOME_USERS = 0.12  # part of the seeds in which all machines are behind NATs
CLAIMERS = 0.25  # part of these with a peer that names victims as peers
CARRIERS = 0.15  # part of the NATs behind one of a carrier
NEEDED = 0.15  # part of the plans of homes in which a mapped port is needed
MAPPING = 0.25  # part of the routers that map ports
STRANGERS = 0.05  # the same of all other plans
TWO_SHARES = 0.3  # part of these with a second share
KINDS = [PRESERVING, PRESERVING, PRESERVING, CHANGING, SYMMETRIC]
LONG = 150.0, 900.0  # seconds for which a sharer has been alone


def add_nats(plan: Plan, rng: Random) -> Plan:
    """Return the plan with a kind for each NAT, some of them behind carriers.

    In some of those in which things happen, a peer names victims as peers.
    """
    sites = tuple(_draw_nat(each, rng) for each in plan.sites)
    events = plan.events
    if events and rng.random() < STRANGERS:
        claimer = Event(rng.random() * 10, "claimer", 0, rng.random())
        events = tuple(sorted((*events, claimer), key=lambda each: each.at))
    return replace(plan, sites=sites, events=events)


def add_routers(plan: Plan, rng: Random) -> Plan:
    """Return the plan with routers that map ports; it is otherwise the same.

    Some of those of `draw_home_users` change: the others reach the sharer only because
    its router maps a port, to another number.
    """
    places = [machine.site for machine in plan.machines]
    is_of_homes = places == list(range(max(2, len(plan.sites)))) and not plan.loss
    if is_of_homes and rng.random() < NEEDED:
        kinds = [SYMMETRIC, *(rng.choice([SYMMETRIC, CHANGING]) for _ in places[1:])]
        sites = [SitePlan(True, False, kind) for kind in kinds]
        sites[0] = replace(sites[0], maps="other")
        machines = tuple(replace(each, is_closed=False) for each in plan.machines)
        return replace(plan, sites=tuple(sites), machines=machines)
    sizes = Counter(machine.site for machine in plan.machines)
    sites = [
        replace(site, maps=rng.choice(["same", "other", "other"]))
        if rng.random() < MAPPING and sizes[number] <= MAX_BEHIND_FORWARD
        else site
        for number, site in enumerate(plan.sites)
    ]
    return replace(plan, sites=tuple(sites))


def _draw_nat(site: SitePlan, rng: Random) -> SitePlan:
    kind, carrier = rng.choice(KINDS), rng.randrange(2)
    if rng.random() < CARRIERS and not site.forwards:
        return replace(site, nat=PRESERVING, carrier=carrier)
    return replace(site, nat=kind)


def is_of_home_users(rng: Random) -> bool:
    """Return True if a seed draws `draw_home_users`."""
    return rng.random() < HOME_USERS


def draw_home_users(seed: int, rng: Random) -> Plan:
    """A few machines, each behind a NAT or firewall of its own, and nothing else.

    Some come when the sharer has been alone for minutes.
    """
    count = rng.choice([2, 2, 2, 3, 3, 4, 6])
    style = rng.random()
    sites = tuple(_draw_home(style, rng) for _ in range(count))
    machines = tuple(
        Machine(
            number,
            number,
            rng.choice([1, 1, 2]),
            rng.choice([0.001, 0.02, 0.1]),
            is_closed=not sites[number].is_nat and rng.random() < 0.8,
            limit_up=rng.choice([None, None, 60e3]),
        )
        for number in range(count)
    )
    late = rng.choice([0.0, 0.0, rng.uniform(*LONG)])
    owners = [0, rng.randrange(count)] if rng.random() < TWO_SHARES else [0]
    shares = tuple(
        Share(number, owner, (("", _draw_size(rng)),))
        for number, owner in enumerate(owners)
    )
    jobs = tuple(
        Job(
            m.number,
            s.number,
            "fetch",
            late + rng.choice([0.0, 1.0, rng.random() * 15]),
        )
        for s in shares
        for m in machines
        if m.number != s.owner
    )
    events: list[Event] = []
    if rng.random() < 0.4:
        at, machine = late + rng.random() * 20, rng.randrange(count)
        kind, end = rng.choice([("kill", "start"), ("cut", "heal"), ("reset", "")])
        events.append(Event(at, kind, machine, 0.5))
        if end:
            events.append(Event(at + rng.choice([0.5, 12.0, 30.0]), end, machine))
    if rng.random() < CLAIMERS:
        events.append(Event(late + rng.random() * 10, "claimer", 0))
    ordered = tuple(sorted(events, key=lambda each: each.at))
    return Plan(seed, sites, machines, shares, jobs, ordered)


def _draw_size(rng: Random) -> int:
    return rng.choice([1, 2, 10, rng.randint(1, 30)]) * CHUNK


def _draw_home(style: float, rng: Random) -> SitePlan:
    is_nat = rng.random() < 0.85
    if style < 0.6:  # any two meet
        return SitePlan(is_nat, False)
    return _draw_nat(SitePlan(is_nat, False), rng)
