"""One simulated machine: its disk, and the processes that run on it."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from random import Random
from typing import Any

import shoal
from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.names.channel_id import Channel
from shoal.core.names.link import Link
from shoal.errors import ShoalError, TargetExistsError
from tests.helpers.faulty.disk import FaultyDisk
from tests.simulator.discovery import SimNetworks
from tests.simulator.hosts import Host
from tests.simulator.jobs import JobState, make_folders, write_file
from tests.simulator.loop import Killed, Process, SimLoop
from tests.simulator.network import Network, SimPort
from tests.simulator.plan import MAX_CHUNKS, Machine, Plan, Share
from tests.simulator.work import do_job, serve_share

__all__ = ["SimMachine"]

FIXED_PORT = 4000  # of nodes that others name or a NAT leads to


class SimMachine:
    """Run the node of one machine, again after each end."""

    def __init__(
        self,
        plan: Plan,
        spec: Machine,
        host: Host,
        network: Network,
        loop: SimLoop,
        links: "dict[int, asyncio.Future[Link | Channel]]",
        named: Callable[[bytes], list[Address]] | None,
        report: Callable[[str], None],
        trace: Callable[..., None],
    ) -> None:
        self.spec = spec
        self.name = f"m{spec.number}"
        self.host = host
        self.root = Path(f"/{self.name}")
        self.disk = FaultyDisk(Path("/"))
        self.disk.fault = self._on_disk_call
        self.process: Process | None = None
        self.node: shoal.Node | None = None
        self.port: SimPort | None = None
        self.links = links
        self.notices: list[str] = []
        self.is_closed = False
        """Whether the node was told to close for good."""
        self.has_closed = False
        """Whether closing it has ended."""
        self.shares: list[Share] = [
            each for each in plan.shares if each.owner == spec.number
        ]
        self.shared: dict[int, Any] = {}
        """The shares that the node serves now, by number."""
        self.jobs = [
            JobState(each, self.root / "out" / f"s{each.share}")
            for each in plan.jobs
            if each.machine == spec.number
        ]
        self.crash_after = 0
        """Calls of the disk until the process is killed; 0 for never."""
        self.stopped_time = 0.0
        """How long its processes have been stopped in all."""
        self.stopped_at = 0.0
        self.damaged: dict[int, set[int]] = {}
        """Chunks of its shares, by number, whose bytes were changed on the disk."""
        self.kept: dict[int, set[int]] = {}
        """Chunks that an earlier process had when it was killed, by share."""
        self.known: set[int] = set()
        """The shares whose manifest an earlier process knew."""
        self.was_full = False
        """Whether its disk has ever been full."""
        self.on_ended: Callable[[SimMachine, JobState], None] = lambda *_: None
        self.on_closed: Callable[[SimMachine], None] = lambda _: None
        self.on_shared_once: Callable[[SimMachine, Share], None] = lambda *_: None
        self._plan = plan
        self._network = network
        self._loop = loop
        self._named = named
        self._report = report
        self._trace = trace
        self._runs = 0
        self._closing: asyncio.Event | None = None
        self._prepare_disk()

    def _prepare_disk(self) -> None:
        for folder in ("home", "out", "src"):
            make_folders(self.disk, self.root / folder)
        for share in self.shares:
            for name, data in share.all_data(self._plan.seed).items():
                write_file(self.disk, self.path(share, name), data)

    def path(self, share: Share, name: str = "") -> Path:
        """Return the path of a shared file or folder."""
        path = self.root / "src" / f"s{share.number}"
        return path / name if name else path

    def contents(self, share: Share, name: str) -> bytes:
        """Return the bytes that a shared file has now."""
        return self.disk.contents(self.path(share, name)) or b""

    # What others can get from it.

    @property
    def is_up(self) -> bool:
        """Return True if its node runs and is not closed."""
        return self.is_running and self.node is not None and not self.is_closed

    def can_dial(
        self,
        other: "SimMachine",
        network: Network,
        port: int | None = None,
        *,
        is_named: bool = False,
    ) -> bool:
        """Return True if one of the other's known addresses leads to it from here.

        Without `port`, that is the port of its sealed shares. Those that only know its
        name do not know which number a router has for that (`is_named`).
        """
        if other.port is None:
            return False
        port = port or other.port.port
        is_near = other.host.site is self.host.site
        hosts = other.host.addresses if is_near else [other.host.outside]
        number = None if is_near or is_named else other.host.number_of(port)
        ports = [port] if number is None else [port, number]
        known = [Address(host, each) for host in hosts for each in ports]
        return any(network.find(self.host, each) is other.host for each in known)

    def stored(self, share: Share) -> set[int]:
        """Return the chunks of a share that its node has now."""
        node, link = self.node, self.links[share.number]
        name = link.result() if link.done() else None
        if node is None or not isinstance(name, Link):
            return set()
        have = set(node.status(name).have or ())
        return have | self.kept.get(share.number, set())

    def _knows(self, share: Share) -> bool:
        """Return True if its node has the manifest of a share."""
        node, link = self.node, self.links[share.number]
        name = link.result() if link.done() else None
        if node is None or not isinstance(name, Link):
            return False
        manifest = node.status(name).manifest
        is_known = manifest is not None and manifest.is_complete
        return is_known or share.number in self.known

    def available(self, share: Share) -> tuple[set[int], bool]:
        """Return the chunks of a share that it serves, and if it has the manifest."""
        node, link = self.node, self.links[share.number]
        if node is None or not link.done() or not self.is_up:
            return set(), False
        have = self.stored(share)
        if share.number in self.shared:
            have -= self.damaged.get(share.number, set())
        else:
            # A reader serves nothing.
            kept = [s for s in self._jobs_of(share) if s.job.kind == "fetch"]
            have &= self._keeps(kept[0], share) if kept else set()
        return have, self._knows(share)

    def serves_open(self, share: Share) -> tuple[set[int], int | None]:
        """Return the chunks of an open channel that it serves, and the port."""
        every, made = share.chunks_of(lambda _: True), self.shared.get(share.number)
        if made is not None:
            damaged = self.damaged.get(share.number, set())
            if damaged and share.open == "name":
                # Without hashes, no chunk of a changed file is known to be right.
                damaged = every
            return every - damaged, made.port
        for state in self._jobs_of(share):
            if state.status == "done" and state.result is not None:
                return every, state.result.port
        return set(), None

    def relays(self, share: Share) -> set[int]:
        """Return the chunks that it will fetch and serve on."""
        found: set[int] = set()
        for state in self._jobs_of(share):
            if state.job.kind == "fetch" and state.status == "running":
                found |= share.chunks_of(state.job.selects) & self._keeps(state, share)
        return found

    def relays_manifest(self, share: Share) -> bool:
        """Return True if it will load the whole manifest, and pass it on.

        A fetch of some files, or one that has ended, loads no other pages.
        """
        return any(
            state.job.kind == "fetch"
            and state.status == "running"
            and not state.job.exclude
            for state in self._jobs_of(share)
        )

    def _jobs_of(self, share: Share) -> list[JobState]:
        return [state for state in self.jobs if state.job.share == share.number]

    def _keeps(self, state: JobState, share: Share) -> set[int]:
        """Return the chunks that a fetch serves: others do not stay after it."""
        if not state.job.seed:
            return set(range(MAX_CHUNKS * 2))
        return share.chunks_within(state.job.selects)

    def uploaded(self, share: Share) -> int:
        """Return how many bytes of chunks its node has sent as the share's owner."""
        made = self.shared.get(share.number)
        return 0 if made is None else made.uploaded

    # Life of the process.

    @property
    def is_running(self) -> bool:
        """Return True if its process exists, stopped or not."""
        return self.process is not None and not self.process.is_dead

    def start(self) -> None:
        """Start a process, unless one runs."""
        if self.is_running or self.is_closed:
            return
        self._runs += 1
        self.process = Process(self._loop, f"{self.name}.{self._runs}")
        self._closing = asyncio.Event()
        main = self.process.spawn(self._live(), f"{self.name} main")
        main.add_done_callback(self._on_exit)

    def _on_exit(self, main: "asyncio.Task[None]") -> None:
        error = None if main.cancelled() else main.exception()
        if error is not None and not isinstance(error, Killed):
            self._report(f"{self.name} ended with {error!r}")

    def kill(self, *, power: bool = False) -> None:
        """Kill the process, with what it read, or let the machine lose power."""
        for share in self._plan.shares:
            is_done = any(state.status == "done" for state in self._jobs_of(share))
            if power and not is_done:
                self.kept.pop(share.number, None)
                self.known.discard(share.number)
            else:
                self.kept[share.number] = self.stored(share)
                kinds = {each.job.kind for each in self._jobs_of(share)}
                if self._knows(share) and kinds != {"read"}:
                    self.known.add(share.number)
        process, self.process = self.process, None
        if process is not None and not process.is_dead:
            process.kill()
            self._network.on_killed(process, is_silent=power)
        if power:
            self.disk.lose_power(self._network.rng)
        else:
            self.disk.lose_process()
        self.node = self.port = None
        self.shared.clear()
        self.crash_after = 0

    def close(self) -> None:
        """Close the node in an orderly way; it does not start again."""
        self.is_closed = True
        if self.process is not None and self._closing is not None:
            self._closing.set()

    def _on_disk_call(self, number: int, method: str) -> int:
        if self.crash_after:
            self.crash_after -= 1
            if not self.crash_after:
                self._loop.call_soon(self.kill, context=Context())
                assert self.process is not None
                self.process.kill()
                self._network.on_killed(self.process, is_silent=False)
                raise Killed
        return 0

    async def _live(self) -> None:
        process, closing = self.process, self._closing
        assert process is not None
        assert closing is not None
        spec = self.spec
        settings = Settings(limit_up=spec.limit_up, limit_down=spec.limit_down)
        node = shoal.Node(
            settings,
            disk=self.disk,
            rng=Random(f"{self._plan.seed} {process.name}"),
            on_notice=lambda notice: self._on_notice(str(notice)),
        )
        self.node = node
        resources = node._resources
        vars(resources)["networks"] = SimNetworks(
            self._network,
            self.host,
            process,
            lan=spec.finds != "named",
            dht=spec.finds == "all",
            named=self._named,
        )
        vars(resources)["home"] = self.root / "home"
        self.port = SimPort(self._network, self.host, process, self._choose_port())
        node._registry._port = self.port
        resources.networks.map_port(self.port.port)
        resources.own(self.port.aclose)
        for share in self.shares:
            process.spawn(self._share(node, share), f"{self.name} share")
        for state in self.jobs:
            process.spawn(self._do(node, state), f"{self.name} job")
        await closing.wait()
        await node.aclose()
        self._trace("closed", process.name)
        self.has_closed = True
        for _ in range(2):  # calls may end after the node, and after a stop
            await asyncio.sleep(0.25)
        self.on_closed(self)

    def _choose_port(self) -> int:
        is_fixed = self._named is not None or self.spec.number == 0
        for forwarded in self.host.site.forwards.values():
            is_fixed = is_fixed or forwarded is self.host
        return FIXED_PORT if is_fixed else 10_000 + self._network.rng.randrange(50_000)

    def _on_notice(self, text: str) -> None:
        self.notices.append(text)
        self._trace("notice", self.name, text)

    # What the node does.

    async def _share(self, node: shoal.Node, share: Share) -> None:
        await asyncio.sleep(max(0.0, share.begins_at - self._loop.time() + 1000))
        try:
            made = await serve_share(node, share, self.path(share))
        except ShoalError as error:
            self._trace("share failed", self.name, repr(error))
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._report(f"{self.name} share s{share.number} raised {error!r}")
            return
        link = self.links[share.number]
        name = made.channel if share.open else made.link
        self._trace("shared", self.name, str(name))
        if not link.done():
            link.set_result(name)
        elif link.result() != name:
            # Nobody fetches what a changed file is now.
            if share.number not in self.damaged:
                self._report(f"{self.name} shares s{share.number} under another link")
            return
        self.shared[share.number] = made
        if share.is_once:
            await made.shared()
            self._trace("shared once", self.name, f"s{share.number}")
            self.on_shared_once(self, share)
            self.shared.pop(share.number, None)
            await made.leave()

    async def _do(self, node: shoal.Node, state: JobState) -> None:
        job = state.job
        if state.status == "failed" or (state.status == "done" and not job.seed):
            return
        link = await asyncio.shield(self.links[job.share])
        await asyncio.sleep(max(0.0, job.begins_at - self._loop.time() + 1000))
        state.was_done = state.status == "done"
        state.status, state.began_at = "running", self._loop.time()
        state.stopped_before, state.error = self.stopped_time, None
        state.result = None
        share = self._plan.shares[job.share]
        self._trace("begins", str(state))
        try:
            state.result = await do_job(
                node, state, link, share, self._plan.seed, self._report
            )
            state.status = "done"
        except TargetExistsError as error:
            # A run that was killed right after its end has done it.
            # A named channel cannot verify what there is.
            is_final = not job.seed or share.open == "name"
            is_done = is_final and self.disk.state_at(state.out) is not None
            state.status = "done" if is_done else "failed"
            state.error = error
        except ShoalError as error:
            state.status, state.error = "failed", error
        except asyncio.CancelledError:
            raise
        except Exception as error:
            state.status, state.error = "failed", error
            self._report(f"{state}: the error is no ShoalError")
        state.ended_at = self._loop.time()
        self._trace("ends", str(state))
        self.on_ended(self, state)
