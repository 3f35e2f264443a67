"""What must hold in every run: at each step, when a job ends, and at the end."""

from typing import TYPE_CHECKING

from shoal.channel.downloader import PROOF_TIME
from shoal.errors import (
    DiskFullError,
    NotFoundError,
    ShoalError,
    TargetExistsError,
    UnfinishedError,
    VerificationError,
)
from tests.simulator.copies import Copies
from tests.simulator.jobs import JobState
from tests.simulator.lines import Line, SimTransport
from tests.simulator.machine import SimMachine
from tests.simulator.plan import Share
from tests.simulator.reach import Reach

if TYPE_CHECKING:
    from tests.simulator.run import World

__all__ = ["SETTLE_TIME", "Invariants"]

PATIENCE = 130.0  # seconds in which a fetch gets a chunk that it can reach
WAKING_SLACK = 6.0  # seconds of two stops that count as waiting
QUIET_TIME = 15.0  # seconds in which a job learns what its source no longer has
MEETING_TIME = 30.0  # seconds in which two nodes that can meet do so
LOOK_PERIOD = 5.0  # seconds between two looks at what each job can reach
SETTLE_TIME = 20.0  # seconds in which nodes that need nothing come to rest
PAIR_TIME = 45.0  # seconds in which two connections of one pair become one
MAX_DIALS = 12  # connections from one host to another for one share, without events
MAX_OPEN = 64  # files and folders that one node has open


class Invariants:
    """Check one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._feasible_since: dict[JobState, float] = {}
        self._doubles: dict[tuple[frozenset[str], SimTransport], float] = {}
        self._last_disturbed = 0.0
        self._reach = Reach(world)
        self._copies = Copies(world, self._reach)
        self._missing_since: dict[JobState, float] = {}
        self._next_look = 0.0

    def _patience(self, state: JobState) -> float:
        """Return the seconds in which a job ends that can reach everything."""
        # Each client of an open channel takes a whole copy from its servers.
        plan = self._world.plan
        if not any(share.open for share in plan.shares):
            return PATIENCE
        size = sum(plan.shares[job.share].size for job in plan.jobs)
        rates = [r for m in plan.machines for r in (m.limit_up, m.limit_down) if r]
        return PATIENCE + (size / min(rates) if rates else 0.0)

    # At each step.

    def on_event(self) -> None:
        """Note that something was done to the world."""
        self._reach.on_event()
        self._last_disturbed = self._world.loop.time()

    def step(self) -> None:
        """Check what holds at every moment."""
        now = self._world.loop.time()
        if now >= self._next_look:
            self._next_look = now + LOOK_PERIOD
            self._look(now)
        for machine in self._world.machines:
            if machine.disk.open_count > MAX_OPEN:
                self._report(f"{machine.name} has {machine.disk.open_count} open files")
        self._check_pairs(now)

    def _look(self, now: float) -> None:
        """Note since when each job could reach everything, or more than it has."""
        for machine in self._world.machines:
            for state in machine.jobs:
                is_running = state.status == "running"
                reached = self._reach.of(state) if is_running else None
                share = self._world.plan.shares[state.job.share]
                wanted = state.wanted(share)
                if share.open and not wanted <= (reached or set()):
                    reached = None  # which of them it has is not known
                if self._needs_sizes(state, share):
                    reached = None
                if reached is None or not wanted <= reached:
                    self._feasible_since.pop(state, None)
                else:
                    self._feasible_since.setdefault(state, now)
                is_fetch = state.job.kind == "fetch"
                if reached and is_fetch and (wanted & reached) - machine.stored(share):
                    self._missing_since.setdefault(state, now)
                else:
                    self._missing_since.pop(state, None)

    def _check_pairs(self, now: float) -> None:
        """Check that two nodes do not keep two connections for one share."""
        pairs: dict[tuple[frozenset[str], bytes], list[Line]] = {}
        for line in self._world.network.lines:  # the oldest first
            if line.share and self._is_whole(line):  # open channels have no node ids
                names = frozenset(process.name for process in line.processes)
                pairs.setdefault((names, line.share), []).append(line)
        # The time begins again with each new connection.
        doubles = {
            (names, lines[-1].ends[0])
            for (names, _), lines in pairs.items()
            if len(lines) > 1 and not any(name.startswith("liar") for name in names)
        }
        self._doubles = {
            pair: since for pair, since in self._doubles.items() if pair in doubles
        }
        for pair in doubles:
            since = max(self._doubles.setdefault(pair, now), self._last_disturbed)
            if now - since > PAIR_TIME:
                self._report(f"{' and '.join(sorted(pair[0]))} keep two connections")

    def _is_whole(self, line: Line) -> bool:
        return not line.is_cut and not any(
            end.is_closing() or end.process.is_dead or end.process.is_stopped
            for end in line.ends
        )

    # When a job ends.

    def on_job_ended(self, machine: SimMachine, state: JobState) -> None:
        """Check the result of a job, or the cause of its failure."""
        self._check_read(state)
        if state.status == "done":
            if state.job.kind == "fetch":
                self.check_files(machine, state)
            return
        error = state.error
        if machine.is_closed:
            if not isinstance(error, ShoalError):
                self._report(f"{state}: no ShoalError on a closed node")
        elif isinstance(error, NotFoundError | UnfinishedError):
            self._check_late(machine, state, str(error))
        elif isinstance(error, VerificationError) and (
            self._world.has_liars or self._is_channel_replaced(state)
        ):
            pass  # all peers that were found had sent wrong chunks
        elif isinstance(error, DiskFullError) and machine.was_full:
            pass
        elif not (self._is_size_unknown(state) or self._is_misled(state)):
            self._report(f"{state} failed for no reason")

    def _is_channel_replaced(self, state: JobState) -> bool:
        """Return True if the owner of a hash channel started again with a changed file.

        That is another channel, but its server may have the address that is announced
        for the old one. There, it sends hashes that do not match the old id.
        """
        share = self._world.plan.shares[state.job.share]
        owner = self._world.machines[share.owner]
        is_changed = share.number in owner.damaged and share.number not in owner.shared
        return share.open == "hash" and is_changed

    def _is_size_unknown(self, state: JobState) -> bool:
        """Return True if a job rightly ended because no server sends the sizes."""
        share = self._world.plan.shares[state.job.share]
        is_told = "do not send the size" in str(state.error)
        return is_told and self._needs_sizes(state, share)

    def _is_misled(self, state: JobState) -> bool:
        """Return True if a target was compared with the sizes of liars only.

        No hash proves the sizes of an open channel. Those of a hash channel are false
        if the target has other ones, so other servers have time to send theirs.
        """
        since = self._feasible_since.get(state)
        now = self._world.loop.time()
        is_new = since is None or now - since < MEETING_TIME
        share = self._world.plan.shares[state.job.share]
        if share.open == "hash" and now - state.began_at < PROOF_TIME:
            return False
        is_target = isinstance(state.error, TargetExistsError) and state.job.seed
        return is_new and is_target and bool(share.open) and self._world.has_liars

    def _needs_sizes(self, state: JobState, share: Share) -> bool:
        """Return True if a job needs sizes that no server sends."""
        is_silent = share.open == "name" and share.hides_sizes
        return is_silent and state.job.kind != "chunk"

    def _is_certain(self, share: Share) -> bool:
        """Return True if every byte of a share must be the right one.

        A named channel proves nothing: its servers may lie, or share a changed file.
        """
        damaged = self._world.machines[share.owner].damaged
        return share.open != "name" or not (
            self._world.has_liars or share.number in damaged
        )

    def _check_read(self, state: JobState) -> None:
        """Check what a job has read of an open channel, also if it failed then."""
        share = self._world.plan.shares[state.job.share]
        if not share.open or state.job.kind == "fetch" or not self._is_certain(share):
            return
        true = share.data(self._world.plan.seed, "")
        if state.job.kind == "chunk":
            true = true[state.index * share.chunk :][: share.chunk]
        is_whole = state.status == "done"
        if state.read != true and (is_whole or not true.startswith(state.read)):
            self._report(f"{state} read wrong bytes")

    def _check_late(self, machine: SimMachine, state: JobState, text: str) -> None:
        timeout = state.job.timeout
        if "disagree about the size" in text and state.read:
            if not self._is_certain(self._world.plan.shares[state.job.share]):
                return
        if timeout is None:
            self._report(f"{state} gave up without a timeout")
            return
        now = self._world.loop.time()
        running = now - state.began_at - (machine.stopped_time - state.stopped_before)
        if running < timeout - WAKING_SLACK:
            self._report(f"{state} gave up after {running:.1f} s of running")
        since = self._feasible_since.get(state, now)
        patience = self._patience(state)
        if now - since > max(timeout, patience):
            self._report(f"{state} gave up although it could reach every chunk")
        elif now - self._missing_since.get(state, now) > patience:
            self._report(f"{state} gave up although it could reach more chunks")
        if self._is_source_to_blame(machine, state) and "removed there" not in text:
            self._report(f"{state} does not say that a file of its source changed")
        if "the disk is slow" in text and not machine.stopped_time:
            self._report(f"{state} blames the disk")

    def _is_source_to_blame(self, machine: SimMachine, state: JobState) -> bool:
        """Return True if a job misses only chunks that changed at their owner."""
        share = self._world.plan.shares[state.job.share]
        owner = self._world.machines[share.owner]
        damaged = owner.damaged.get(share.number, set())
        missing = state.wanted(share) - machine.stored(share)
        quiet = self._world.loop.time() - max(self._last_disturbed, state.began_at)
        return (
            state.job.kind == "fetch"
            and not share.open  # its protocol has no message for that
            and bool(missing)
            and missing <= damaged
            and quiet > QUIET_TIME
            and not self._world.plan.loss
            and share.number in owner.shared
            and owner.is_up
            and not owner.host.has_liar_beside  # then it may not be asked at all
            and self._reach.can_meet(machine, owner)
            and owner.process is not None
            and not owner.process.is_stopped
        )

    def check_files(self, machine: SimMachine, state: JobState) -> None:
        """Check that a finished fetch has written exactly the right bytes."""
        share = self._world.plan.shares[state.job.share]
        if not self._is_certain(share):
            return
        truth = share.all_data(self._world.plan.seed)
        if not share.is_folder:
            if machine.disk.contents(state.out) != truth[""]:
                self._report(f"{state} wrote wrong bytes")
            return
        found = machine.disk.files(state.out)
        expected = {n: data for n, data in truth.items() if state.job.selects(n)}
        if found != expected:
            names = sorted(found or ())
            self._report(f"{state} wrote {names} instead of {sorted(expected)}")

    # At the end.

    def finish(self) -> None:
        """Check that everything has ended that could."""
        now = self._world.loop.time()
        for machine in self._world.machines:
            for state in machine.jobs:
                if state.status == "done" and state.job.kind == "fetch":
                    self.check_files(machine, state)
                if state.status != "running" or not machine.is_up:
                    continue
                since = self._feasible_since.get(state, now)
                timeout, patience = state.job.timeout, self._patience(state)
                if now - since > patience:
                    self._report(f"{state} did not end although it could")
                elif now - self._missing_since.get(state, now) > patience:
                    self._report(f"{state} did not get chunks that it can reach")
                elif timeout and now - state.began_at > 2 * timeout + patience:
                    self._report(f"{state} did not end after its timeout")
            self._check_failures(machine)
        self._check_dials()
        self._copies.check()

    def _check_failures(self, machine: SimMachine) -> None:
        if machine.node is not None and not self._world.has_liars:
            failures = machine.node.counters.failures
            if failures:
                self._report(f"{machine.name} got {failures} wrong chunks")

    def _check_dials(self) -> None:
        if self._world.plan.events or self._world.plan.loss:
            return
        for (client, server, _), count in self._world.network.dials.items():
            if count > MAX_DIALS:
                self._report(f"{client} connected to {server} {count} times")

    def check_quiet(self, connects: int) -> None:
        """Check that nodes which need nothing do not connect again and again."""
        if connects > 2 * len(self._world.machines):
            self._report(f"{connects} connections were made when nothing happened")

    def on_shared_once(self, machine: SimMachine, share: Share) -> None:
        """Check that a share ended when another node had a copy that cannot be lost."""
        now = self._world.loop.time()
        if self._world.has_liars or now - self._last_disturbed < 1.0:
            return  # a liar claims to have every chunk, and a peer may just have died
        has_one = any(
            each.disk.is_safe(state.out)
            for each in self._world.machines
            for state in each.jobs
            if state.job.share == share.number and state.job.kind == "fetch"
            if all(state.job.selects(name) for name, _ in share.files)
        )
        if not has_one:
            self._report(f"{machine.name} left s{share.number}, which no node has")

    def on_closed(self, machine: SimMachine) -> None:
        """Check that a node which was closed has left nothing behind."""
        process = machine.process
        assert process is not None
        if machine.disk.open_count:
            self._report(
                f"{machine.name} has {machine.disk.open_count} files open after close"
            )
        if machine.host.listening:
            self._report(f"{machine.name} listens after close")
        if any(sock.process is process for sock in machine.host.sockets.values()):
            self._report(f"{machine.name} has sockets after close")
        for line in self._world.network.lines:
            for end in line.ends:
                if end.process is not process or end.is_closing():
                    continue
                self._report(f"{machine.name} is connected after close")
        for state in machine.jobs:
            if state.status == "running":
                self._report(f"{state} runs after close")
        names = [task.get_name() for task in process.tasks if not task.done()]
        left = [name for name in names if not name.startswith(machine.name)]
        if left:
            self._report(f"{machine.name} has {len(left)} tasks after close")

    def _report(self, text: str) -> None:
        self._world.report(text)
