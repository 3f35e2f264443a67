"""Which nodes can meet, and which chunks a job can reach through them."""

from typing import TYPE_CHECKING

from tests.simulator.hosts import Host
from tests.simulator.jobs import JobState
from tests.simulator.machine import SimMachine
from tests.simulator.network import SimPort
from tests.simulator.plan import Share

if TYPE_CHECKING:
    from tests.simulator.run import World

__all__ = ["Reach"]

# A node dials two ports of a host at a time, until they prove to be peers.
MAX_BEHIND_NAT = 2  # nodes with one address that surely are punched through to


class Reach:
    """Compute what is reachable in one world at this moment."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._meetings: dict[tuple[SimPort | None, SimPort | None], bool] = {}
        self._mappings = 0

    def on_event(self) -> None:
        """Note that something was done to the world."""
        self._meetings.clear()

    def members(self, share: Share) -> list[SimMachine]:
        """Return the machines that are in the swarm of a share now."""
        return [m for m in self._world.machines if m.is_up and self._is_in(m, share)]

    def _is_in(self, machine: SimMachine, share: Share) -> bool:
        if share.number in machine.shared:
            return True
        return any(
            state.job.share == share.number
            and (
                state.status == "running"
                or (state.status == "done" and state.is_served)
            )
            for state in machine.jobs
        )

    def can_meet(self, one: SimMachine, other: SimMachine) -> bool:
        """Return True if either node finds the other and can dial it."""
        if self._mappings != self._world.network.mappings:
            self._mappings = self._world.network.mappings
            self._meetings.clear()
        key = (one.port, other.port)
        found = self._meetings.get(key)
        if found is None:
            found = self._finds(one, other) or self._finds(other, one)
            self._meetings[key] = self._meetings[other.port, one.port] = found
        return found

    def can_exchange(self, one: SimMachine, other: SimMachine) -> bool:
        """Return True if two nodes can meet, or punch a hole to each other.

        That they can if both are found in the DHT and no NAT changes their ports
        (docs/reach.md).
        """
        if self._may_collide(one.host, other.host):
            return False
        return self.can_meet(one, other) or (
            self._can_punch(one.host, other.host)
            and all(each.spec.finds == "all" for each in (one, other))
        )

    def _may_collide(self, one: Host, other: Host) -> bool:
        """Return True if a second share may find the ports of the first one in use.

        A router that lets in at another port than it sends from gives a peer two
        addresses, but only one connection is possible between its listening port and
        that of another peer.
        """
        shares = [share for share in self._world.plan.shares if not share.open]
        return len(shares) > 1 and any(
            host.site.maps == "other"
            or (host.site.forwards and host.site.changes_ports)
            for host in (one, other)
        )

    def _can_punch(self, one: Host, other: Host) -> bool:
        return (
            one.outside != other.outside
            and one.site is not other.site
            and not (one.is_deaf or other.is_deaf)
            and one.site.keeps_ports
            and other.site.keeps_ports
            and all(self._count_at(each) <= MAX_BEHIND_NAT for each in (one, other))
            and not self._world.network.is_cut(one, other)
        )

    def _count_at(self, host: Host) -> int:
        """Return how many hosts have the same address on the internet."""
        hosts = self._world.network.hosts
        return sum(each.outside == host.outside for each in hosts)

    def _finds(
        self, one: SimMachine, other: SimMachine, port: int | None = None
    ) -> bool:
        network = self._world.network
        if other.port is None or network.is_cut(one.host, other.host):
            return False
        if one.spec.finds == "named" and one.spec.number:
            return other.spec.number == 0 and one.can_dial(
                other, network, port, is_named=True
            )
        if other.spec.finds == "named" and other.spec.number:
            return False
        return one.can_dial(other, network, port)

    def of(self, state: JobState) -> set[int] | None:
        """Return the chunks that a job has or can reach; None without the manifest.

        A chunk reaches it through any chain of peers that want it, too.
        """
        share = self._world.plan.shares[state.job.share]
        machine = self._world.machines[state.job.machine]
        if not machine.is_up:
            return None
        if share.open:
            return self._of_open(machine, share)
        found = {m.spec.number: m.available(share) for m in self.members(share)}
        members = [self._world.machines[number] for number in found]
        origin = self._world.origins.get(share.number)
        has_origin = origin is not None and origin.answers
        near = {
            m.spec.number: [
                other.spec.number
                for other in members
                if other is not m and self.can_exchange(m, other)
            ]
            for m in members
        }
        has_changed = True
        while has_changed:
            has_changed = False
            for one in members:
                have, knows = found[one.spec.number]
                if has_origin and knows and not one.relays(share) <= have:
                    have = have | one.relays(share)
                    found[one.spec.number] = have, knows
                    has_changed = True
                for number in near[one.spec.number]:
                    more, is_known = found[number]
                    news = (more & one.relays(share)) - have
                    is_known = is_known and one.relays_manifest(share)
                    if news or is_known > knows:
                        have, knows = have | news, knows or is_known
                        found[one.spec.number] = have, knows
                        has_changed = True
        have, knows = machine.stored(share), False
        for number in (machine.spec.number, *near.get(machine.spec.number, ())):
            have, knows = have | found[number][0], knows or found[number][1]
        if has_origin:
            have = have | share.chunks_of(state.job.selects)
        return have if knows else None

    def _of_open(self, machine: SimMachine, share: Share) -> set[int] | None:
        """Return the chunks of an open channel that the servers found have.

        Only clients dial, and a client serves nothing before it has everything.
        """
        found: set[int] | None = None
        for other in self._world.machines:
            have, port = other.serves_open(share) if other.is_up else (set(), None)
            if port and other is not machine and self._finds(machine, other, port):
                found = have | (found or set())
        return found
