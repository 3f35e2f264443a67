"""Run one seed: build the world of its plan, let its events happen, check the rest."""

import asyncio
import concurrent.futures
import gc
import hashlib
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import shoal.channel.operations
import shoal.channel.servers
import shoal.core.crypto.noise
import shoal.swarm.member
import shoal.transport.sealed.dial
from shoal.core.names.address import Address
from shoal.core.names.channel_id import Channel
from shoal.core.names.link import Link
from tests.helpers.memory_origin import MemoryOrigin
from tests.simulator.draw import draw
from tests.simulator.events import Events
from tests.simulator.hosts import Host, make_sites
from tests.simulator.invariants import SETTLE_TIME, Invariants
from tests.simulator.loop import SimExecutor, SimLoop
from tests.simulator.machine import FIXED_PORT, SimMachine
from tests.simulator.nat import FIREWALL, Nat
from tests.simulator.network import Network
from tests.simulator.open_network import (
    FIRST_PORT,
    SimListener,
    dial_open,
    make_handshake,
)
from tests.simulator.origins import SimOrigin
from tests.simulator.plan import MAX_BEHIND_FORWARD, Plan
from tests.simulator.sockets import SimKnocking, connect, open_socket

__all__ = ["Result", "World", "run_plan", "run_seed"]

BOUND = 240.0  # virtual seconds after the last event in which everything ends
CHECK_PERIOD = 0.5  # virtual seconds between two looks at the invariants
HOLD = 1.0  # virtual seconds after an event until the end may begin
CLOSE_TIME = 30.0  # virtual seconds in which a node closes
# As long as those of Kubernetes.
DOMAIN = ".a-service-with-a-long-name.some-namespace.svc.cluster.local"
START = 1000.0  # the time at which the virtual clock begins


@dataclass
class Result:
    """What became of one run."""

    plan: Plan
    violations: list[str]
    digest: str
    """A hash of every step: the same for the same seed."""
    lines: list[str]
    """The trace, if it was kept."""
    seconds: float
    """Virtual seconds."""


class World:
    """All machines and their network during one run."""

    def __init__(self, plan: Plan, loop: SimLoop, *, keeps_trace: bool) -> None:
        self.plan = plan
        self.loop = loop
        self.rng = Random(f"world {plan.seed}")
        self.violations: list[str] = []
        self.lines: list[str] = []
        self._keeps_trace = keeps_trace
        self._digest = hashlib.sha256()
        shares = sum(not share.open for share in plan.shares)
        self.network = Network(loop, self.rng, self.trace, self.report, shares)
        self.network.loss = plan.loss
        self.links: dict[int, asyncio.Future[Link | Channel]] = {
            share.number: loop.create_future() for share in plan.shares
        }
        self.origins = {
            share.number: SimOrigin(share.all_data(plan.seed))
            for share in plan.shares
            if share.has_origin
        }
        """By the number of the share."""
        self.machines: list[SimMachine] = []
        self.has_liars = False
        """Whether a node may get chunks that do not verify."""
        self._is_over = False
        self._make_machines()
        self.invariants = Invariants(self)
        self.events = Events(self)
        for machine in self.machines:
            machine.on_ended = self.invariants.on_job_ended
            machine.on_closed = self.invariants.on_closed
            machine.on_shared_once = self.invariants.on_shared_once

    def trace(self, *what: object) -> None:
        """Add one step to the trace."""
        line = f"{self.loop.time() - START:.6f} {' '.join(map(str, what))}"
        self._digest.update(line.encode() + b"\n")
        if self._keeps_trace:
            self.lines.append(line)

    def report(self, text: str) -> None:
        """Note a violation, once."""
        if text not in self.violations and not self._is_over:
            self.violations.append(text)
            self.trace("VIOLATION", text)

    @property
    def digest(self) -> str:
        """Return the hash of the trace so far."""
        return self._digest.hexdigest()

    def _make_machines(self) -> None:
        sites = make_sites(self.plan.sites, self.rng)
        for spec in self.plan.machines:
            site = sites[spec.site]
            addresses = [
                f"192.168.{k}.{spec.number + 10}"
                if site.public
                else f"45.{2 + k}.{spec.site}.{spec.number + 10}"
                for k in range(spec.addresses)
            ]
            host = Host(f"m{spec.number}", site, addresses, spec.latency)
            if spec.is_closed:
                host.firewall = Nat(FIREWALL, self.rng)
            host.is_deaf = spec.is_deaf
            count = sum(each.site == spec.site for each in self.plan.machines)
            is_small = count <= MAX_BEHIND_FORWARD
            if self.plan.sites[spec.site].forwards and is_small and not site.forwards:
                site.forwards[FIXED_PORT] = host
                for nat in site.nats[:1]:
                    nat.forwards[FIXED_PORT] = host.addresses
            self.network.hosts.append(host)
            self.network.names[f"{host.name}{DOMAIN}"] = host
            named = self._name_first if spec.finds == "named" and spec.number else None
            machine = SimMachine(
                self.plan,
                spec,
                host,
                self.network,
                self.loop,
                self.links,
                named,
                self.report,
                self.trace,
            )
            self.machines.append(machine)

    def _name_first(self, topic: bytes) -> list[Address]:
        """Return the addresses that nodes are given which find no others."""
        port = FIXED_PORT
        for share in self.plan.shares:
            link = self.links[share.number]
            channel = link.result() if share.open and link.done() else None
            if isinstance(channel, Channel) and channel.topic == topic:
                port = FIRST_PORT + share.number
        return [Address(f"m0{DOMAIN}", port)]

    def open_readers(self, link: Link, settings: object) -> list[MemoryOrigin]:
        """Return the readers of a share's origins, as a `Member` opens them."""
        return [
            self.origins[number].open()
            for number, future in self.links.items()
            if number in self.origins
            and future.done()
            and future.result().id == link.id
        ]

    # The run.

    async def run(self) -> None:
        """Run the whole plan."""
        for machine in self.machines:
            machine.start()
        events = list(self.plan.events)
        # The last of a few jobs may begin long after the others.
        begins = [job.begins_at for job in self.plan.jobs]
        last = max([HOLD, *begins, *(each.at + HOLD for each in events)])
        for event in events:
            await self._sleep_until(START + event.at)
            self.events.apply(event)
        # A job that is done begins again when its machine has started again.
        await self._sleep_until(START + last)
        deadline = START + last + BOUND
        while self.loop.time() < deadline and not self._is_settled():  # noqa: ASYNC110
            await asyncio.sleep(CHECK_PERIOD)
        if self.plan.quiet:
            await asyncio.sleep(SETTLE_TIME)
            before = sum(self.network.dials.values())
            await asyncio.sleep(self.plan.quiet)
            self.invariants.check_quiet(sum(self.network.dials.values()) - before)
        for machine in self.machines:
            for state in machine.jobs:
                self.trace("end", state)
        self.invariants.finish()
        await self._close()

    async def _sleep_until(self, when: float) -> None:
        while self.loop.time() < when:
            await asyncio.sleep(min(CHECK_PERIOD, when - self.loop.time()))
            self.invariants.step()

    def _is_settled(self) -> bool:
        self.invariants.step()
        return all(
            state.status in ("done", "failed")
            for machine in self.machines
            if machine.is_running
            for state in machine.jobs
        )

    async def _close(self) -> None:
        for machine in self.machines:
            if machine.process is not None:
                machine.process.is_stopped = False
            machine.close()
        await asyncio.sleep(CLOSE_TIME)
        for machine in self.machines:
            if machine.is_running and not machine.has_closed:
                self.report(f"{machine.name} does not close")
        self._is_over = True
        for machine in self.machines:
            machine.kill()


class _Keys:
    """Make ephemeral keys of the seed's random bytes."""

    @staticmethod
    def generate() -> X25519PrivateKey:
        """Return a new key."""
        return X25519PrivateKey.from_private_bytes(os.urandom(32))


@contextmanager
def _determined(world_rng: Random, loop: SimLoop) -> Iterator[None]:
    """Take every random byte, time and thread from the seed."""
    pools = [
        patch.object(module, "ThreadPoolExecutor", SimExecutor)
        for name, module in list(sys.modules.items())
        if name.startswith("shoal.") and hasattr(module, "ThreadPoolExecutor")
    ]
    clocks = [
        patch.object(module, "monotonic", loop.time)
        for name, module in list(sys.modules.items())
        if name.startswith("shoal.") and hasattr(module, "monotonic")
    ]

    def wall_time() -> float:
        return 1.8e9 + loop.time() + loop.wall_offset

    patches: list[Any] = [
        *pools,
        *clocks,
        patch.object(concurrent.futures, "ThreadPoolExecutor", SimExecutor),
        patch.object(os, "urandom", world_rng.randbytes),
        patch.object(shoal.core.crypto.noise, "X25519PrivateKey", _Keys),
        patch.object(time, "time_ns", lambda: int(wall_time() * 1e9)),
        patch.object(time, "time", wall_time),
    ]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def run_plan(plan: Plan, *, keeps_trace: bool = False) -> Result:
    """Run one plan in its own event loop."""
    import shoal.channel.fetch_chunk
    import shoal.reading.file
    import shoal.swarm.operations  # noqa: F401  before anything is patched

    loop = SimLoop(Random(f"threads {plan.seed}"))
    asyncio.set_event_loop(loop)
    gc.disable()
    try:
        with _determined(Random(f"bytes {plan.seed}"), loop):
            result = _run_world(plan, loop, keeps_trace)
            _bury(loop)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        gc.enable()
    return result


def _run_world(plan: Plan, loop: SimLoop, keeps_trace: bool) -> Result:
    world = World(plan, loop, keeps_trace=keeps_trace)
    channel, network = shoal.channel, world.network
    sealed = shoal.transport.sealed
    patches: list[Any] = [
        patch.object(shoal.swarm.member, "open_readers", world.open_readers),
        patch.object(channel.servers, "dial", partial(dial_open, network)),
        patch.object(channel.operations, "Listener", partial(SimListener, network)),
        patch.object(channel.operations, "encode_handshake", make_handshake),
        patch.object(sealed.bound, "_connect", partial(open_socket, network)),
        patch.object(sealed.dial, "connect", partial(connect, network)),
        patch.object(sealed.dial, "Knocking", SimKnocking),
    ]
    with ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        loop.run_until_complete(world.run())
    for text in loop.errors:
        world.report(f"the loop reported: {text}")
    seconds = loop.time() - START
    return Result(plan, world.violations, world.digest, world.lines, seconds)


def _bury(loop: SimLoop) -> None:
    """Free what killed processes left, without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with patch.object(sys, "unraisablehook", lambda _: None):
            loop.forget_all()
            gc.collect()


def run_seed(seed: int, *, keeps_trace: bool = False) -> Result:
    """Draw and run one seed."""
    return run_plan(draw(seed), keeps_trace=keeps_trace)
