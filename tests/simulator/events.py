"""What happens to the machines and the network of a simulated world."""

from functools import partial
from operator import eq
from typing import TYPE_CHECKING

from tests.simulator.hosts import Host, Site
from tests.simulator.liar import Liar
from tests.simulator.loop import Process
from tests.simulator.machine import SimMachine
from tests.simulator.open_network import OpenLiar
from tests.simulator.plan import Event

if TYPE_CHECKING:
    from tests.simulator.run import World

__all__ = ["Events"]


class Events:
    """Let the events of one world happen."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def apply(self, event: Event) -> None:
        """Let an event happen."""
        self._world.trace("event", event)
        machine = self._world.machines[event.machine]
        self._world.invariants.on_event()
        getattr(self, f"_on_{event.kind}")(machine, event.value)

    def _on_kill(self, machine: SimMachine, value: float) -> None:
        machine.kill()

    def _on_power(self, machine: SimMachine, value: float) -> None:
        machine.kill(power=True)

    def _on_crash(self, machine: SimMachine, value: float) -> None:
        if machine.is_running:
            machine.crash_after = 1 + int(value * 60)

    def _on_start(self, machine: SimMachine, value: float) -> None:
        machine.start()

    def _on_stop(self, machine: SimMachine, value: float) -> None:
        if machine.process is not None and not machine.process.is_stopped:
            machine.process.stop()
            machine.stopped_at = self._world.loop.time()

    def _on_resume(self, machine: SimMachine, value: float) -> None:
        if machine.process is not None and machine.process.is_stopped:
            machine.stopped_time += self._world.loop.time() - machine.stopped_at
            machine.process.resume()

    def _on_close(self, machine: SimMachine, value: float) -> None:
        machine.close()

    def _on_full(self, machine: SimMachine, value: float) -> None:
        machine.was_full = True
        machine.disk.capacity = machine.disk.used + int(value * 200_000)

    def _on_free(self, machine: SimMachine, value: float) -> None:
        machine.disk.capacity = 1 << 40

    def _on_cut(self, machine: SimMachine, value: float) -> None:
        name = machine.host.site.name if value < 0.3 else machine.host.name
        self._world.network.cut(name)

    def _on_heal(self, machine: SimMachine, value: float) -> None:
        self._world.network.heal()

    def _on_reset(self, machine: SimMachine, value: float) -> None:
        for line in list(self._world.network.lines):
            if machine.host in line.hosts:
                self._world.network.lose(line)

    def _on_move(self, machine: SimMachine, value: float) -> None:
        """Give the machine another address; its connections die."""
        host = machine.host
        self._on_reset(machine, value)
        net, _, last = host.addresses[0].rpartition(".")
        host.addresses[0] = f"{net}.{100 + int(last) % 100}"

    def _on_edit(self, machine: SimMachine, value: float) -> None:
        """Change a byte of a shared file, with or without a new time."""
        for share in machine.shares:
            size = share.size
            if not size or not self._world.links[share.number].done():
                continue
            place = int(value * size)
            name, offset = share.find(place)
            if len(machine.contents(share, name)) <= offset:
                continue  # it was shortened before
            self._world.has_liars = True
            machine.damaged.setdefault(share.number, set()).add(place // share.chunk)
            machine.disk.alter(machine.path(share, name), offset, quiet=value < 0.5)

    def _on_trim(self, machine: SimMachine, value: float) -> None:
        """Shorten a shared file, perhaps to nothing."""
        for share in machine.shares:
            if not share.size or not self._world.links[share.number].done():
                continue
            name, offset = share.find(int(value * share.size))
            offset = 0 if value < 0.3 else offset
            first = int(value * share.size) // share.chunk if offset else 0
            gone = {i for i in share.chunks_of(partial(eq, name)) if i >= first}
            machine.damaged.setdefault(share.number, set()).update(gone)
            if offset < len(machine.contents(share, name)):
                machine.disk.overwrite(machine.path(share, name), offset, None)

    def _on_liar(self, machine: SimMachine, value: float) -> None:
        """Let a peer that sends wrong chunks join the swarm of a share."""
        number = len(self._world.network.hosts)
        self._add_liar(value, Site(f"liars{number}"), f"46.1.{number}.1")

    def _on_caller(self, machine: SimMachine, value: float) -> None:
        """Let a liar beside a machine dial every node again and again."""
        site, number = machine.host.site, len(self._world.network.hosts)
        address = f"192.168.9.{number}" if site.public else f"45.9.0.{number}"
        liar = self._add_liar(value, site, address)
        for other in self._world.machines:
            other.host.has_liar_beside |= other.host.site is site
        if liar is not None:
            liar.call(self._world.machines)

    def _on_claimer(self, machine: SimMachine, value: float) -> None:
        """Let a peer join every swarm that tells all others to dial strangers."""
        shares = len(self._world.plan.shares)
        for share in self._world.plan.shares:
            number = len(self._world.network.hosts)
            site, address = Site(f"liars{number}"), f"46.1.{number}.1"
            which = (share.number + 0.5) / shares
            if not share.open:
                liar = self._add_liar(which, site, address, claims=True)
                if liar is not None:
                    liar.claim()

    def _add_liar(
        self, value: float, site: Site, address: str, *, claims: bool = False
    ) -> Liar | None:
        share = self._world.plan.shares[int(value * len(self._world.plan.shares))]
        owner = self._world.machines[share.owner].shared.get(share.number)
        if owner is None or not share.size:
            return None
        self._world.has_liars = True
        network = self._world.network
        host = Host(f"liar{len(network.hosts)}", site, [address])
        data = b"".join(share.all_data(self._world.plan.seed).values())
        process = Process(self._world.loop, host.name)
        if share.open:
            OpenLiar(network, host, process, owner.channel, share, data)
            return None
        keys = owner.link.keys
        manifest = owner.manifest
        return Liar(network, host, process, keys, manifest, data, claims=claims)

    def _on_wall(self, machine: SimMachine, value: float) -> None:
        """Set the clocks of all machines; nothing but files tells that time."""
        self._world.loop.wall_offset = (value - 0.5) * 1e6

    def _on_mute(self, machine: SimMachine, value: float) -> None:
        for origin in self._world.origins.values():
            origin.set_answers(False)

    def _on_unmute(self, machine: SimMachine, value: float) -> None:
        for origin in self._world.origins.values():
            origin.set_answers(True)
