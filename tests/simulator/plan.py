"""Draw a run from one seed: the topology, the shares, the jobs and the events.

A plan has no behaviour. Everything in it is drawn before the run starts, so a run that
fails can be repeated with some of its events only.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

__all__ = [
    "CHUNK",
    "MAX_BEHIND_FORWARD",
    "MAX_CHUNKS",
    "Event",
    "Job",
    "Machine",
    "Plan",
    "Share",
    "SitePlan",
    "draw",
]

CHUNK = 16 * 1024  # bytes
MAX_CHUNKS = 60  # of one share, so that a run takes a fraction of a second
MAX_NODES = 30
HORIZON = 40.0  # virtual seconds in which events happen
# A peer book keeps two ports of one global address, so among many nodes behind one NAT
# that DHT announces, it finds the one that the NAT lets in after minutes.
MAX_BEHIND_FORWARD = 3  # nodes of a site whose NAT lets connections in
TIMEOUTS = [None, None, 20.0, 150.0]  # seconds
RATES = [None, None, None, 60e3, 200e3, 1e6]  # bytes per second


@dataclass(frozen=True)
class SitePlan:
    """A place with hosts: behind a NAT, or on the internet."""

    is_nat: bool
    forwards: bool
    """Whether the NAT leads to its first host."""


@dataclass(frozen=True)
class Machine:
    """A host, its disk, and how its node is set up."""

    number: int
    site: int
    addresses: int
    latency: float
    is_closed: bool
    limit_up: float | None
    limit_down: float | None
    finds: str
    """`all`, or `named` for a node that is only given the first one's name."""


@dataclass(frozen=True)
class Share:
    """A file or folder that one machine shares."""

    number: int
    owner: int
    files: tuple[tuple[str, int], ...]
    """Paths and sizes; a single file has the path `""`."""
    is_public: bool = False
    begins_at: float = 0.0

    @property
    def is_folder(self) -> bool:
        """Return True if it is a folder."""
        return self.files[0][0] != ""

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return sum(size for _, size in self.files)

    def find(self, place: int) -> tuple[str, int]:
        """Return the file with a byte of the share, and where in it that byte is."""
        for name, size in self.files:
            if place < size:
                return name, place
            place -= size
        raise AssertionError("the share has no such byte")

    def chunks_of(self, selects: Callable[[str], bool]) -> set[int]:
        """Return the chunks that have bytes of the selected files."""
        found: set[int] = set()
        offset = 0
        for name, size in self.files:
            if size and selects(name):
                found.update(range(offset // CHUNK, (offset + size - 1) // CHUNK + 1))
            offset += size
        return found

    def chunks_within(self, selects: Callable[[str], bool]) -> set[int]:
        """Return the chunks that have no byte of another file."""
        others = self.chunks_of(lambda name: not selects(name))
        return self.chunks_of(selects) - others

    def data(self, seed: int, name: str) -> bytes:
        """Return the bytes of one of its files."""
        size = dict(self.files)[name]
        return Random(f"{seed} {self.number} {name}").randbytes(size)

    def all_data(self, seed: int) -> dict[str, bytes]:
        """Return the bytes of all of its files."""
        return {name: self.data(seed, name) for name, _ in self.files}


@dataclass(frozen=True)
class Job:
    """What a machine fetches or reads."""

    machine: int
    share: int
    kind: str
    """`fetch` or `read`."""
    begins_at: float
    timeout: float | None = None
    seed: bool = True
    exclude: str = ""

    def selects(self, name: str) -> bool:
        """Return True if this job fetches a file."""
        if self.exclude == "*.tmp":
            return "/" in name or not name.endswith(".tmp")
        return not self.exclude or not name.endswith(".tmp")


@dataclass(frozen=True)
class Event:
    """What happens to a machine or to the network, and when."""

    at: float
    kind: str
    machine: int = -1
    value: float = 0.0


@dataclass(frozen=True)
class Plan:
    """Everything that one seed draws."""

    seed: int
    sites: tuple[SitePlan, ...]
    machines: tuple[Machine, ...]
    shares: tuple[Share, ...]
    jobs: tuple[Job, ...]
    events: tuple[Event, ...] = field(default=())
    loss: float = 0.0

    def only(self, events: Iterable[int], jobs: Iterable[int]) -> "Plan":
        """Return this plan with only some of its events and jobs."""
        return replace(
            self,
            events=tuple(self.events[number] for number in events),
            jobs=tuple(self.jobs[number] for number in jobs),
        )


def draw(seed: int) -> Plan:
    """Draw the plan of one seed."""
    rng = Random(f"plan {seed}")
    sites = _draw_sites(rng)
    machines = _draw_machines(rng, sites)
    shares = _draw_shares(rng, len(machines))
    jobs = _draw_jobs(rng, machines, shares)
    return Plan(
        seed,
        sites,
        machines,
        shares,
        jobs,
        _draw_events(rng, machines, sites, shares),
        rng.choice([0.0, 0.0, 0.05, 0.2]),
    )


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
        shares.append(Share(number, owner, files, rng.random() < 0.2, begins_at))
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
    kinds += ["crash", "wall", "liar", "edit"]
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
}
"""The event that ends the state which another one begins."""
