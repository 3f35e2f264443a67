"""What to ask of which giver; the decisions of a download, without any I/O.

`Asking` is the single owner of the picker and of what each giver was asked for. It
says how much more a giver may be asked for and which chunks, and hears what became
of them. Who sends the requests, verifies and writes is somebody else's business, so
that a simulated crowd runs the same code as a download.
"""

from collections.abc import Hashable, Iterable
from random import Random
from typing import Generic, TypeVar

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.core.report.outlook import Lack
from shoal.core.schedule.flow import Flow, OriginFlow
from shoal.core.schedule.inflight import Intake
from shoal.core.schedule.overdue import Overdue
from shoal.core.schedule.picker import ChunkPicker
from shoal.core.schedule.pulls import Pulls
from shoal.core.schedule.window import MAX_REQUESTS

__all__ = ["Asking"]

MAX_WASTED = 3  # chunks of its choice that were there, until it chooses no more
FEW_REQUESTS = 8  # outstanding in all, below which each giver is asked for two
ANY_PAUSE = 3.0  # seconds for which a giver that had nothing to choose is not asked to

G = TypeVar("G", bound=Hashable)


class Asking(Generic[G]):
    """Share the chunks that are missing out among the givers."""

    def __init__(
        self,
        chunks: Chunks,
        have: Bitfield,
        rng: Random,
        *,
        wanted: Iterable[int] | None = None,
    ) -> None:
        """Begin with the chunks in `have` verified; it grows with what is.

        With `wanted` only those chunks are asked for, in this order, and what `want`
        adds.
        """
        self._chunks = chunks
        self._picker: ChunkPicker[G] = ChunkPicker(
            have, rng, first=range(chunks.count)[-1:], wanted=wanted
        )
        self._flows: dict[G, Flow] = {}
        self._full = 0  # givers that have everything
        self._outstanding = 0  # requests, of all givers
        self._next_key = -1
        self._late: set[int] = set()  # chunks that took long at the last tick
        self._is_due = False  # more givers than one might be asked for more
        self._pulls: Pulls[G] = Pulls()
        self._is_read = False  # whether somebody waits for chunks in their order
        self._overdue = Overdue()
        self._intake = Intake(chunks.chunk_size)

    def __contains__(self, giver: G) -> bool:
        return giver in self._flows

    @property
    def givers(self) -> list[G]:
        """Return who may be asked."""
        return list(self._flows)

    @property
    def is_complete(self) -> bool:
        """Say whether every chunk that is wanted is verified."""
        return self._picker.is_complete

    def has(self, index: int) -> bool:
        """Say whether a chunk is verified."""
        return self._picker.has(index)

    @property
    def is_all_asked(self) -> bool:
        """Say whether all that is missing was asked for: only copies are left."""
        return self._picker.is_all_asked

    @property
    def lack(self) -> Lack | None:
        """Return what no giver has, if nothing else is left to ask for."""
        index = self._picker.an_unseen
        if index is None or self._full or self._outstanding:
            return None
        return Lack(index, self._picker.unseen)

    @property
    def asked(self) -> frozenset[int]:
        """Return what somebody was asked for, or has given and is not verified."""
        return self._picker.asked

    def want(self, indexes: Iterable[int], *, before: bool = False) -> list[G]:
        """Ask for these as well, in this order; with `before`, before all others.

        Returns the givers, first who usually answers soonest: somebody waits.
        """
        self._is_read = True
        if self._picker.is_complete:
            self._overdue.on_idle()
        self._picker.want(indexes, before=before)
        return self._ranked()

    def want_at_once(self, index: int, now: float) -> G | None:
        """Ask a peer for the one chunk that is wanted, and return the peer.

        None means that more is wanted, or nobody is ready: it takes a `want`.
        """
        for giver in () if self._outstanding else self._ranked():
            flow = self._flows[giver]
            is_ready = not flow.is_origin and flow.window.room() > 0
            if is_ready and self._picker.want_of(index, giver):
                self._is_read = True
                self._overdue.on_idle()
                flow.window.on_sent((index,), now)
                self._outstanding = 1
                return giver
        return None

    def _ranked(self) -> list[G]:
        """Return the givers, first who usually answers soonest, origins last."""
        flows = self._flows
        if len(flows) < 2:
            return list(flows)
        return sorted(flows, key=lambda g: (flows[g].is_origin, flows[g].window.delay))

    def unwant(self, indexes: Iterable[int]) -> list[tuple[G, int]]:
        """Ask for these no more; return who was asked for which of them."""
        asked = [
            (giver, index)
            for index, givers in self._picker.unwant(indexes).items()
            for giver in givers
        ]
        for giver, index in asked:
            self._forget(giver, index)
        return asked

    def forget(self, index: int) -> None:
        """Note that a chunk which was verified is not kept any longer."""
        self._picker.forget(index)

    # Givers come and go.

    def add(
        self,
        giver: G,
        have: Bitfield | None = None,
        *,
        gives_any: bool = False,
        most: int = MAX_REQUESTS,
    ) -> None:
        """Ask a giver for its share of the chunks; without `have` it has all.

        It keeps at most `most` requests waiting; with `gives_any` it may choose.
        """
        self.remove(giver)
        is_full = have is None or have.is_complete
        self._flows[giver] = Flow(
            self._chunks.chunk_size, most, is_full=is_full, gives_any=gives_any
        )
        self._full += is_full
        self._picker.on_peer_joined(giver, None if is_full else have)

    def add_origin(self, origin: G) -> None:
        """Ask an origin for what no peer has nor is about to have."""
        self.remove(origin)
        self._flows[origin] = OriginFlow(self._chunks.chunk_size)
        self._picker.on_peer_joined(origin, None)

    def remove(self, giver: G) -> bool:
        """Forget a giver and what it was asked for; say whether it was known."""
        self._pulls.remove(giver)
        flow = self._flows.pop(giver, None)
        if flow is None:
            return False
        self._is_due = True
        self._full -= flow.is_full
        self._outstanding -= len(flow.window)
        self._picker.on_peer_left(giver)
        return True

    def on_have(self, giver: G, indexes: Iterable[int]) -> bool:
        """Note what a giver has since; say whether it can be asked for some of that."""
        self._pulls.on_have(giver, indexes)
        flow = self._flows.get(giver)
        if flow is None or flow.is_full:
            return False
        is_useful = False
        for index in indexes:
            is_useful |= self._picker.on_have(giver, index)
        return is_useful

    def on_pulling(self, giver: G, indexes: Iterable[int], now: float) -> None:
        """Note what a giver is asking an origin for."""
        if giver in self._flows:
            self._pulls.on_pulling(giver, indexes, now)

    def puller(self, index: int) -> G | None:
        """Return which giver says that it asks an origin for a chunk, if one does."""
        return self._pulls.puller(index)

    def take_back(self, giver: G, indexes: Iterable[int]) -> None:
        """Note that a giver is not asked for these after all, and not to blame."""
        for index in self._picker.asked_of(giver).intersection(indexes):
            self._forget(giver, index)
            self._picker.on_request_expired(index, giver)
            self._is_due = True

    def on_heard(self, giver: G, now: float, *, is_ahead: bool = False) -> None:
        """Note that a giver is alive, and whether it sends more than we can take."""
        flow = self._flows.get(giver)
        if flow is not None:
            flow.window.on_heard(now)
            self._intake.on_read(is_ahead=is_ahead)

    # What becomes of requests.

    def on_answer(self, giver: G, index: int, now: float, *, was_any: bool) -> bool:
        """Note a chunk that came; say whether it is needed and should be verified."""
        flow = self._flows[giver]
        key = flow.any_keys.popleft() if was_any and flow.any_keys else index
        self._outstanding -= flow.window.on_answer(key, now)
        if self._picker.on_chunk_arrived(index, giver):
            flow.window.on_judging()
            self._overdue.on_chunk(now, is_from_peer=not flow.is_origin)
            return True
        if was_any:
            flow.wasted += 1
            flow.gives_any = flow.wasted < MAX_WASTED
        return False

    def on_refused(
        self, giver: G, index: int | None, now: float, *, is_busy: bool
    ) -> None:
        """Ask others for what a giver will not give; one that is busy, later."""
        flow = self._flows.get(giver)
        if flow is None:
            return
        self._is_due = True
        self._outstanding -= len(flow.window)
        if index is not None:
            flow.window.on_refused(index)
            if index in self._picker.asked_of(giver):
                if is_busy:
                    self._picker.on_request_expired(index, giver)
                else:
                    # Never asked of it again, so refusing all costs it one each.
                    self._picker.on_request_refused(index, giver)
        elif flow.any_keys:
            flow.window.on_refused(flow.any_keys.popleft())
            flow.any_from = now + ANY_PAUSE
        self._outstanding += len(flow.window)

    def on_verified(self, index: int, giver: G) -> list[G]:
        """Note that a chunk is right; return who need not give it any more."""
        flow = self._flows.get(giver)
        if flow is not None:
            self._is_due |= flow.window.on_right()
        others = self._picker.on_chunk_verified(index)
        for other in others:
            self._forget(other, index)
            self._is_due = True
        return others

    def _forget(self, giver: G, index: int) -> None:
        """Note that an answer is not waited for any more."""
        window = self._flows[giver].window
        self._outstanding -= len(window)
        window.forget(index)
        self._outstanding += len(window)

    def on_failed(self, index: int) -> None:
        """Note that a chunk is wrong: others are asked for it."""
        self._is_due = True
        self._picker.on_chunk_failed(index)

    def on_tick(self, now: float) -> list[G]:
        """Take back what stalled givers owe; return those that stall now.

        Near the end, what takes longer than usual may be asked of others, too.
        """
        self._intake.on_tick()
        stalled = []
        peers = [flow for flow in self._flows.values() if not flow.is_origin]
        delays = sorted(f.window.delay for f in peers if f.window.delay)
        usual = delays[len(delays) // 2] if delays else 0.0
        self._late.clear()
        for giver, flow in self._flows.items():
            owed = len(flow.window)
            if flow.window.check_stalled(now, 0.0 if flow.is_origin else usual):
                self._outstanding -= owed
                stalled.append(giver)
                flow.any_keys.clear()
                for index in self._picker.asked_of(giver):
                    self._picker.on_request_expired(index, giver)
            elif self._picker.is_all_asked:
                self._late.update(flow.window.overdue(now, usual))
        # A pause may be over, too.
        self._is_due |= bool(stalled or self._late) or any(
            0 < flow.any_from <= now for flow in self._flows.values()
        )
        return stalled

    # What to ask for.

    def due(self) -> list[G]:
        """Return whom to ask after verdicts and ticks: all, if anything changed."""
        is_due, self._is_due = self._is_due, False
        # What an origin may be asked for is a matter of time, too.
        return [g for g, f in self._flows.items() if is_due or f.is_origin]

    def room(self, giver: G, waiting: int) -> int:
        """Return how many chunks a giver may be asked for now, at most.

        `waiting` is how many bytes have come and have no verdict.
        """
        # Where few are asked, each of them must not have to wait for the next request.
        least = 2 if self._outstanding < FEW_REQUESTS else 1
        room = self._flows[giver].window.room(least)
        if room <= 0:
            return 0
        budget = self._intake.room(self._outstanding, waiting)
        self._is_due |= budget < room
        return min(room, budget)

    def next_requests(self, giver: G, limit: int, now: float) -> tuple[int, list[int]]:
        """Return what to ask of a giver now; all of it counts as asked for.

        That is a number of chunks of its choice, or up to `limit` chunks of ours.
        Near the end, what took long at the last tick is asked of a second giver.
        """
        flow = self._flows[giver]
        if self._may_ask_any(flow, now):
            number = self._ask_any(flow, limit, now)
            if flow.any_keys:
                # What it chose is on its way; asked for by index it would come twice.
                return number, []
        if isinstance(flow, OriginFlow):
            indexes = self._next_pulled(giver, flow, limit, now)
        else:
            indexes = self._picker.next_requests(giver, limit, copies=self._late)
        flow.window.on_sent(indexes, now)
        self._outstanding += len(indexes)
        return 0, indexes

    def _may_ask_any(self, flow: Flow, now: float) -> bool:
        """Say whether a giver should choose: the only one that has everything.

        Two of them would choose the same, since neither sees what the other gives.
        """
        return (
            flow.gives_any
            and flow.is_full
            and self._full == 1
            and self._picker.wants_all
            and now >= flow.any_from
        )

    def _next_pulled(
        self, origin: G, flow: OriginFlow, limit: int, now: float
    ) -> list[int]:
        """Return what to ask of an origin; it comes last, since all come to it.

        What peers have is asked of it, too, from when nothing came for a while until
        one of them gives something again.
        """
        waits = [f.window.wait(now) for f in self._flows.values() if len(f.window)]
        if self._overdue.look(now, max(waits, default=flow.window.delay)):
            return self._picker.next_requests(origin, limit, copies=self._late)
        if any(f.is_full and not f.window.is_stalled for f in self._flows.values()):
            return []
        delay = flow.window.wait(now)
        return self._picker.next_run(
            origin,
            limit,
            lambda index: not self._pulls.is_pulled(index, now, delay),
            in_order=self._is_read,
        )

    def _ask_any(self, flow: Flow, limit: int, now: float) -> int:
        """Ask for any chunk as long as there are some that only this giver has."""
        number = max(0, min(limit, self._picker.unseen - len(flow.any_keys)))
        keys = range(self._next_key, self._next_key - number, -1)
        self._next_key -= number
        flow.any_keys.extend(keys)
        flow.window.on_sent(keys, now)
        self._outstanding += number
        return number
