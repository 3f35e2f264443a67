"""What one seed draws: the topology, the shares, the jobs and the events.

A plan has no behaviour. Everything in it is drawn before the run starts, so a run that
fails can be repeated with some of its events only.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

from tests.simulator.nat import PRESERVING

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
]

CHUNK = 16 * 1024  # bytes
MAX_CHUNKS = 60  # of one share, so that a run takes a fraction of a second
MAX_NODES = 30
HORIZON = 40.0  # virtual seconds in which events happen
# A victim must not be dialled at many ports, so among many nodes that the DHT announces
# behind one NAT, the only one that the NAT lets in is found after minutes.
MAX_BEHIND_FORWARD = 8  # nodes of a site whose NAT lets connections in
THEMED = 0.2  # part of the seeds that draw one of the themes
TIMEOUTS = [None, None, 20.0, 150.0]  # seconds
RATES = [None, None, None, 60e3, 200e3, 1e6]  # bytes per second


@dataclass(frozen=True)
class SitePlan:
    """A place with hosts: behind a NAT, or on the internet."""

    is_nat: bool
    forwards: bool
    """Whether the NAT leads to its first host."""
    nat: str = PRESERVING
    """The kind of the NAT."""
    carrier: int | None = None
    """The carrier whose NAT is between this one and the internet."""
    maps: str = ""
    """`same` or `other` if the router maps ports, to the same number or another one."""


@dataclass(frozen=True)
class Machine:
    """A host, its disk, and how its node is set up."""

    number: int
    site: int
    addresses: int
    latency: float
    is_closed: bool = False
    limit_up: float | None = None
    limit_down: float | None = None
    finds: str = "all"
    """`all`, or `named` for a node that is only given the first one's name."""
    is_deaf: bool = False
    """Whether a firewall drops every connection to it."""


@dataclass(frozen=True)
class Share:
    """A file or folder that one machine shares."""

    number: int
    owner: int
    files: tuple[tuple[str, int], ...]
    """Paths and sizes; a single file has the path `""`."""
    is_public: bool = False
    begins_at: float = 0.0
    is_once: bool = False
    """Whether the owner leaves once another node has everything."""
    has_origin: bool = False
    """Whether a server that speaks to no node has the files too."""
    chunk: int = CHUNK
    """Bytes in a chunk."""
    open: str = ""
    """`hash` or `name` for a file on an open channel instead of a sealed share."""
    hides_sizes: bool = False
    """Whether its servers send no sizes, as those of the workshop."""

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
                last = (offset + size - 1) // self.chunk
                found.update(range(offset // self.chunk, last + 1))
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
    """`fetch` or `read`; of an open channel also `chunk`."""
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
    quiet: float = 0.0
    """Virtual seconds after the last job in which nothing happens."""

    def only(self, events: Iterable[int], jobs: Iterable[int]) -> "Plan":
        """Return this plan with only some of its events and jobs."""
        return replace(
            self,
            events=tuple(self.events[number] for number in events),
            jobs=tuple(self.jobs[number] for number in jobs),
        )
