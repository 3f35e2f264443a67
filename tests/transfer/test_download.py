"""Which chunks a download requests from which peers, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import pytest

from shoal.core.manifest.manifest import Manifest
from shoal.core.schedule.scheduler import CHOICE_PAUSE
from shoal.core.schedule.window import STALL_TIME
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS
from shoal.core.wire.sealed_messages import (
    Cancel,
    Have,
    Refuse,
    SealedRequest,
)
from shoal.errors import StoreError
from shoal.swarm.coordinator import ChunkSource
from shoal.transfer.download import Download
from tests.helpers.holder import Heard, Holder, Talk, holding_of
from tests.helpers.memory_net import Member, MemoryNet, memory_net
from tests.helpers.memory_peers import CONTENT, SIZE, left, manifest_of, until_verified
from tests.helpers.memory_store import TransientStore
from tests.helpers.virtual_time import now, virtual_time
from tests.helpers.wire import Content

ALL = list(range(CONTENT.count))


class Source(Holder):
    """Send every chunk `delay` seconds after its request."""

    delay = 0.01
    have: Iterable[int] = ALL
    owed = 0
    most = 0
    """The largest number of requests without an answer."""

    @property
    def bitfield(self) -> bytes:
        count = self.holding.chunks.count
        return self.holding.some(index for index in self.have if index < count)

    @property
    def indexes(self) -> list[int]:
        """Return the requests that name a chunk."""
        return [index for index in self.requested if index is not None]

    @property
    def choices(self) -> int:
        """Return the number of requests that leave the choice to this peer."""
        return self.requested.count(None)

    def on_message(self, talk: Talk, message: Heard) -> None:
        if isinstance(message, SealedRequest):
            self.owed += 1
            self.most = max(self.most, self.owed)
        super().on_message(talk, message)

    def on_request(self, talk: Talk, index: int) -> None:
        self.answer(lambda: talk.send_chunk(index))

    def answer(self, send: Callable[[], object]) -> None:
        def answer() -> None:
            self.owed -= 1
            send()

        self.later(self.delay, answer)

    @property
    def cancelled(self) -> list[int]:
        """Return the requests that were cancelled."""
        received = self.talks[-1].received
        return [each.index for each in received if isinstance(each, Cancel)]


class Silent(Source):
    def on_request(self, talk: Talk, index: int) -> None:
        pass


class Refuser(Source):
    """Refuse some chunks."""

    refused: range | set[int] = range(1000)
    reason = "missing"

    def on_request(self, talk: Talk, index: int) -> None:
        if index in self.refused:
            self.answer(lambda: talk.send(Refuse(index, self.reason)))
        else:
            super().on_request(talk, index)


S = TypeVar("S", bound=Source)


class Run:
    """A download by a member that knows the manifest and has no peers yet."""

    def __init__(
        self, net: MemoryNet, member: Member, content: Content, store: TransientStore
    ) -> None:
        self.net = net
        self.member = member
        self.content = content
        self.store = store
        self.download: Download[ChunkSource]

    async def join(
        self, kind: type[S], have: Iterable[int] = ALL, delay: float | None = None
    ) -> S:
        """Connect a peer of this kind and wait until it has the first requests."""
        source = kind(holding_of(manifest_of(self.content), self.content.chunk))
        source.have = have
        if delay is not None:
            source.delay = delay
        self.net.call(source, self.member)
        await asyncio.sleep(0.001)
        return source

    async def complete(self) -> None:
        """Wait until the download is complete; check its chunks."""
        await self.net.until(lambda: self.download.is_complete)
        for index in self.download.have:
            assert self.store.get(index) == self.content.chunk(index)

    @property
    def bans(self) -> int:
        return sum(event.is_banned for event in left(self.member))


@asynccontextmanager
async def downloading(
    content: Content = CONTENT,
    wanted: Sequence[int] | None = None,
    limit_down: float | None = None,
) -> AsyncIterator[Run]:
    """Begin a download that has no peers yet."""
    manifest = manifest_of(content)
    async with memory_net() as net:
        member = net.join(manifest.id, limit_down=limit_down)
        member.begin()
        run = Run(net, member, content, TransientStore(manifest.chunks))
        teacher = await run.join(Source, have=())
        await member.swarm.load(Manifest.missing)
        teacher.end()
        await asyncio.sleep(0.001)
        run.download = member.swarm.begin(run.store, wanted)
        yield run
        await member.swarm.stop()


@virtual_time
async def test_a_lone_complete_peer_chooses_every_chunk() -> None:
    async with downloading() as run:
        source = await run.join(Source)
        await run.complete()
        assert source.choices == CONTENT.count
        assert not source.indexes


@virtual_time
async def test_two_complete_peers_get_requests_by_index() -> None:
    async with downloading() as run:
        one = await run.join(Source)
        # The first peer was asked to choose before the second one joined.
        chosen = one.choices
        two = await run.join(Source)
        await run.complete()
        assert one.choices == chosen == 1
        assert two.choices == 0
        assert len(two.indexes) > CONTENT.count / 4
        # Only the chosen chunk may have been requested from the other peer as well.
        assert len(one.indexes) + len(two.indexes) <= CONTENT.count


@virtual_time
async def test_a_partial_peer_gets_requests_for_its_chunks_only() -> None:
    async with downloading() as run:
        part = await run.join(Source, have=ALL[:10])
        await run.join(Source)
        part.talks[-1].send(Have([(30, 2)]))
        await run.complete()
        assert part.choices == 0
        assert part.indexes
        assert set(part.indexes) <= {*ALL[:10], 30, 31}


@virtual_time
async def test_a_download_of_some_chunks_requests_no_others() -> None:
    async with downloading(wanted=[7, 3]) as run:
        source = await run.join(Source, have=ALL[:-1])
        await run.complete()
        assert set(source.requested) == {3, 7}
        run.download.want([3, 9])
        await run.complete()
        assert source.requested[2:] == [9]


@virtual_time
async def test_a_peer_that_refuses_to_choose_gets_requests_by_index() -> None:
    class RefusesToChoose(Source):
        def on_message(self, talk: Talk, message: Heard) -> None:
            if message == SealedRequest(None):
                self.answer(lambda: talk.send(Refuse(None, "nothing")))
            else:
                super().on_message(talk, message)

    async with downloading() as run:
        begun = now()
        source = await run.join(RefusesToChoose)
        await run.complete()
        assert sorted(source.indexes) == ALL
        assert now() - begun < CHOICE_PAUSE


@virtual_time
async def test_a_peer_that_always_chooses_the_same_chunk_chooses_no_more() -> None:
    class ChoosesTheFirst(Source):
        def on_message(self, talk: Talk, message: Heard) -> None:
            if message == SealedRequest(None):
                self.answer(lambda: talk.send_chunk(0))
            else:
                super().on_message(talk, message)

    async with downloading() as run:
        source = await run.join(ChoosesTheFirst)
        await run.complete()
        assert source.choices <= 12
        assert not run.bans


@virtual_time
async def test_a_refused_chunk_is_requested_from_another_peer() -> None:
    async with downloading() as run:
        refuser = await run.join(Refuser)
        refuser.refused = {5, 39}
        other = await run.join(Source, delay=0.05)
        await run.complete()
        assert refuser.indexes.count(5) <= 1
        assert refuser.indexes.count(39) <= 1
        assert {5, 39} <= set(other.sent)


@virtual_time
async def test_a_refused_chunk_is_not_requested_again_from_the_same_peer() -> None:
    async with downloading() as run:
        refuser = await run.join(Refuser, have=ALL[:-1])
        await run.join(Source)
        await run.complete()
        assert refuser.indexes
        assert len(refuser.indexes) == len(set(refuser.indexes))


@virtual_time
async def test_a_busy_peer_gets_the_request_again_after_a_pause() -> None:
    class Busy(Refuser):
        reason = "busy"
        delay = 0.05

    async with downloading() as run:
        busy = await run.join(Busy, have=ALL[:-1])
        await asyncio.sleep(5)
        # Each refusal takes 0.05 s, with at least two requests in flight.
        assert len(busy.indexes) <= 5 / 0.05 * 2 + 10
        busy.refused = set()
        busy.talks[-1].send(Have([(CONTENT.count - 1, 1)]))
        await run.complete()


@virtual_time
async def test_the_last_chunks_are_requested_twice_then_cancelled() -> None:
    content = Content.make(8 * SIZE, SIZE)
    async with downloading(content) as run:
        slow = await run.join(Source, have=range(7), delay=1.5)
        owed = set(slow.indexes)
        assert owed
        fast = await run.join(Source)
        begun = now()
        await run.complete()
        # Long before the slow peer answers or counts as stalled.
        assert now() - begun < 1.0
        assert owed <= set(fast.sent)
        await asyncio.sleep(0.1)
        assert owed <= set(slow.cancelled) == set(slow.indexes)
        assert not fast.cancelled
        # Answers of the slow peer that arrive nevertheless do no harm.
        await asyncio.sleep(3)
        assert owed <= set(slow.sent)
        assert not left(run.member)[1:]
        assert run.download.done == len(content.data)


@virtual_time
async def test_the_requests_of_a_stalled_peer_go_to_others() -> None:
    async with downloading() as run:
        silent = await run.join(Silent, have=ALL[:-1])
        owed = silent.indexes
        assert owed
        begun = now()
        await asyncio.sleep(STALL_TIME + 1)
        assert silent.indexes == owed
        late = await run.join(Source)
        await run.complete()
        assert set(ALL) == set(late.sent)
        assert now() - begun < STALL_TIME + 10
        # A chunk that the stalled peer sends after all is not counted twice.
        silent.talks[-1].send_chunk(owed[0])
        await asyncio.sleep(1)
        assert run.download.done == len(CONTENT.data)
        assert not run.bans


@virtual_time
async def test_two_peers_stalled_at_a_chunk_do_not_keep_a_third_from_it() -> None:
    async with downloading(Content.make(2 * SIZE, SIZE), wanted=[0]) as run:
        one, two = [await run.join(Silent, have=[0]) for _ in range(2)]
        await asyncio.sleep(1)
        # Each got a request for the chunk, and gets no more of them.
        assert one.requested == two.requested == [0]
        await asyncio.sleep(2 * STALL_TIME)
        late = await run.join(Source, have=[0])
        assert late.requested == [0]
        await run.complete()


@virtual_time
async def test_a_peer_that_stalls_before_it_chooses_does_not_delay_the_rest() -> None:
    async with downloading() as run:
        silent = await run.join(Silent)
        assert silent.choices
        begun = now()
        await run.join(Source, have=ALL[:-1])
        await run.net.until(lambda: run.download.done >= len(CONTENT.data) - SIZE)
        assert now() - begun < 2 * STALL_TIME


@virtual_time
async def test_a_peer_that_left_owes_nothing() -> None:
    async with downloading() as run:
        gone, other = await run.join(Silent), await run.join(Source)
        assert gone.requested
        begun = now()
        gone.end()
        await run.complete()
        assert now() - begun < STALL_TIME
        assert set(other.sent) == set(ALL)


@pytest.mark.parametrize("have", [ALL[:-1], ALL], ids=["by index", "any"])
@virtual_time
async def test_a_peer_is_banned_for_a_wrong_chunk_and_another_sends_it(
    have: list[int],
) -> None:
    class Liar(Source):
        def on_request(self, talk: Talk, index: int) -> None:
            zeros = bytes(self.holding.chunks.length(index))
            self.answer(lambda: talk.send_chunk(index, zeros))

    async with downloading() as run:
        liar = await run.join(Liar, have=have)
        assert (liar.choices > 0) == (have == ALL)
        await run.net.until(lambda: run.bans == 1)
        honest = await run.join(Source)
        await run.complete()
        assert run.bans == 1
        assert set(honest.sent) == set(ALL)


@virtual_time
@pytest.mark.parametrize("right", [0, 1])
async def test_a_peer_that_chooses_a_chunk_that_does_not_exist_is_disconnected(
    right: int,
) -> None:
    class Beyond(Source):
        def on_request(self, talk: Talk, index: int) -> None:
            if len(self.sent) < right:
                super().on_request(talk, index)
            else:
                self.answer(lambda: talk.send_chunk(CONTENT.count, b"x"))

    async with downloading() as run:
        before = len(left(run.member))
        await run.join(Beyond)
        await run.net.until(lambda: len(left(run.member)) > before)
        await run.join(Source)
        await run.complete()


@pytest.mark.parametrize("peers", [1, 3])
@virtual_time
async def test_the_download_rate_is_kept(peers: int) -> None:
    async with downloading(limit_down=8 * SIZE) as run:
        begun = now()
        for _ in range(peers):
            await run.join(Source)
        await run.complete()
        # 40 chunks at 8 per second, less the first burst.
        assert now() - begun == pytest.approx(5, abs=0.3)


@virtual_time
async def test_no_peer_has_more_requests_in_flight_than_it_accepts() -> None:
    content = Content.make(600 * SIZE, SIZE)
    async with downloading(content) as run:
        source = await run.join(Source, have=range(600))
        await run.complete()
        assert MAX_QUEUED_REQUESTS / 2 < source.most <= MAX_QUEUED_REQUESTS


@virtual_time
async def test_a_failure_of_the_store_ends_the_download() -> None:
    async with downloading() as run:

        def fail(items: object) -> None:
            raise StoreError("no space")

        run.store.put_many = fail  # type: ignore[method-assign]
        await run.join(Source)
        with pytest.raises(StoreError, match="no space"):
            await until_verified(run.member, CONTENT.count - 1)
        assert not run.download.have
        with suppress(StoreError):
            await run.member.swarm.stop()


@virtual_time
async def test_stored_chunks_are_not_requested() -> None:
    async with downloading(Content.make(0, SIZE)) as run:
        assert run.download.is_complete
    async with downloading() as run:
        source = await run.join(Source)
        await run.complete()
        requests = len(source.requested)
        await asyncio.sleep(10)
        assert len(source.requested) == requests
