"""Chunks go to everyone in turn, within a rate, and nobody holds up another."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.rate_limit import RateLimit
from shoal.core.schedule.turns import FIRST_LIMIT, HELD_TIME
from shoal.core.session.request_queue import MAX_QUEUED_REQUESTS
from shoal.errors import StoreError
from shoal.storage.store import Span
from shoal.transfer.receiver import LONE_SIZE, Sent
from shoal.transfer.receiver import Receiver as BaseReceiver
from shoal.transfer.store_reader import Read, Requests
from shoal.transfer.uploader import ALONE_LEAST, BATCH_SIZE, Uploader
from shoal.transport.making import Room
from tests.helpers.memory_store import MemoryStore
from tests.helpers.resources import make_resources
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

SIZE = 16_384
CONTENT = Content.make(100 * SIZE, SIZE)
BATCH = BATCH_SIZE // SIZE
LARGE = Content.make(6 * 2 * LONE_SIZE + 1, 2 * LONE_SIZE)
"""Chunks that are larger than a lone request that is urgent, but for the last one."""


class Log:
    """Remember who was sent something, and wake who waits for that."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._changed = asyncio.Event()

    def tell(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that was sent or refused makes `condition` true."""
        async with asyncio.timeout(1000):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Receiver(BaseReceiver):
    """Want chunks, and take them while it has room."""

    def __init__(self, name: str, log: Log, wants: Sequence[int] = ()) -> None:
        self.name = name
        self.room = 1 << 30
        self.is_reader = False
        self.wants = deque(wants)
        self.got: list[int] = []
        self.refused: list[Hashable] = []
        self._log = log

    @property
    def is_writable(self) -> bool:
        return len(self.got) < self.room

    @property
    def is_urgent(self) -> bool:
        return self.is_reader

    def next_requests(self, limit: int) -> list[tuple[int, Hashable]]:
        taken = [self.wants.popleft() for _ in range(min(limit, len(self.wants)))]
        return [(index, f"{self.name}{index}") for index in taken]

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        for note, data in chunks:
            index = int(str(note).removeprefix(self.name))
            assert data == CONTENT.chunk(index)
            self.got.append(index)
            self._log.names.append(self.name)
        self._log.tell()

    def refuse(self, notes: list[Hashable], error: Exception) -> None:
        self.refused += notes
        self._log.tell()


class Store(MemoryStore):
    """Have some chunks only from the disk, some not at all, and tell who reads."""

    def __init__(self, content: Content = CONTENT) -> None:
        super().__init__(Chunks(len(content.data), len(content.chunk(0))))
        for index in range(content.count):
            self.put(index, content.chunk(index))
        self.cold: set[int] = set()
        self.bad: set[int] = set()
        self.slow: set[int] = set()
        self.readers: list[str] = []
        self.begun = threading.Event()
        self.may_read = threading.Event()

    def get(self, index: int) -> bytes:
        if index in self.slow:
            self.begun.set()
            assert self.may_read.wait(20)
        self.readers.append(threading.current_thread().name)
        return self._checked(index)

    def get_now(self, index: int) -> bytes | None:
        return self.get_many_now((index,))[0]

    def get_many_now(self, indexes: Sequence[int]) -> list[bytes | None]:
        return [None if i in self.cold else self._checked(i) for i in indexes]

    def _checked(self, index: int) -> bytes:
        if index in self.bad:
            raise StoreError("the file has changed")
        return super().get(index)


@asynccontextmanager
async def uploading(
    store: Store, rate: float | None = None, *, threads: int = 2
) -> AsyncIterator[tuple[Uploader, Log]]:
    with ThreadPoolExecutor(threads, "reader") as executor:
        uploader = Uploader(store, make_resources(executor, limit_up=rate))
        try:
            yield uploader, Log()
        finally:
            store.may_read.set()
            await uploader.aclose()


@virtual_time
async def test_without_a_rate_each_has_a_batch_in_turn() -> None:
    async with uploading(Store()) as (uploader, log):
        receivers = [Receiver(name, log, range(3 * BATCH)) for name in "abc"]
        for receiver in receivers:
            receiver.room = 0  # so that nobody begins before all are there
            uploader.wake(receiver)
        for receiver in receivers:
            receiver.room = 1 << 30
        waiting, receivers[0].wants = receivers[0].wants, deque()
        uploader.wake(receivers[0])
        receivers[0].wants = waiting
        for receiver in receivers:
            uploader.wake(receiver)
        for receiver in receivers:
            assert receiver.got == list(range(3 * BATCH))
        assert uploader.served == len(log.names)
        assert uploader.sent == len(log.names) * SIZE


@virtual_time
async def test_with_a_rate_all_have_the_same_share_at_any_time() -> None:
    async with uploading(Store(), 10 * SIZE) as (uploader, log):
        receivers = [Receiver(name, log, range(40)) for name in "abcd"]
        begun = asyncio.get_running_loop().time()
        for receiver in receivers:
            uploader.wake(receiver)
        await log.until(lambda: len(log.names) == 120)
        taken = asyncio.get_running_loop().time() - begun
        # 10 chunks a second, but for the first burst.
        assert taken == pytest.approx(12, abs=0.3)
        # The first few went to who came first; from then on it is turn by turn.
        for place in range(2, 116):
            assert set(log.names[place : place + 4]) == set("abcd")
        assert all(receiver.got == sorted(receiver.got) for receiver in receivers)


@virtual_time
async def test_one_rate_is_kept_by_all_uploaders_that_share_it() -> None:
    bucket = RateLimit(10 * SIZE)
    log = Log()
    with ThreadPoolExecutor(1) as threads:
        uploaders = [
            Uploader(Store(), make_resources(threads, up=bucket)) for _ in range(2)
        ]
        begun = asyncio.get_running_loop().time()
        for name, uploader in zip("ab", uploaders, strict=True):
            uploader.wake(Receiver(name, log, range(50)))
        await log.until(lambda: len(log.names) == 100)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(10, abs=0.5)
        for uploader in uploaders:
            await uploader.aclose()


@virtual_time
async def test_one_that_takes_nothing_holds_up_nobody() -> None:
    async with uploading(Store()) as (uploader, log):
        stuck, other = Receiver("s", log, range(50)), Receiver("o", log, range(50))
        stuck.room = 2
        uploader.wake(stuck)
        uploader.wake(other)
        assert other.got == list(range(50))
        # One batch may be on its way when it stops taking; no more.
        assert len(stuck.got) <= BATCH
        before = list(stuck.got)
        uploader.wake(stuck)
        assert stuck.got == before
        stuck.room = 100
        uploader.wake(stuck)
        assert stuck.got == list(range(50))


@virtual_time
async def test_what_is_on_the_disk_is_read_in_a_thread_while_others_are_served() -> (
    None
):
    store = Store()
    store.cold = store.slow = {5, 6}
    async with uploading(store) as (uploader, log):
        slow, fast = Receiver("s", log, [4, 5, 6, 7]), Receiver("f", log, range(7, 30))
        uploader.wake(slow)
        uploader.wake(fast)
        assert slow.got == [4]
        assert fast.got == list(range(7, 30))
        assert uploader._reading
        uploader.wake(slow)  # has its turn when it is read, not before
        assert slow.got == [4]
        store.may_read.set()
        await log.until(lambda: len(slow.got) == 4)
        assert slow.got == [4, 5, 6, 7]
        assert not uploader._reading
        assert all(name.startswith("reader") for name in store.readers)


@pytest.mark.parametrize("is_cold", [False, True])
@virtual_time
async def test_what_cannot_be_read_is_refused_and_the_rest_is_sent(
    is_cold: bool,
) -> None:
    store = Store()
    store.bad = {50}
    if is_cold:
        store.cold = set(range(CONTENT.count))
    async with uploading(store) as (uploader, log):
        receiver = Receiver("t", log, [50, *range(BATCH, 2 * BATCH)])
        uploader.wake(receiver)
        await log.until(lambda: not receiver.wants and uploader.is_idle)
        assert receiver.refused == ["t50"]
        assert sorted(receiver.got) == list(range(BATCH, 2 * BATCH))
        assert uploader.sent == len(receiver.got) * SIZE


@pytest.mark.parametrize("is_cold", [False, True])
@virtual_time
async def test_what_is_not_there_any_more_is_refused(is_cold: bool) -> None:
    store = Store()
    store.cold = {1} if is_cold else set()
    del store._data[1]
    async with uploading(store) as (uploader, log):
        receiver = Receiver("t", log, [1])
        uploader.wake(receiver)
        await log.until(lambda: bool(receiver.refused))
        assert receiver.refused == ["t1"]


@virtual_time
async def test_another_store_takes_over_once_nobody_reads_the_first() -> None:
    first, second = Store(), Store()
    first.cold = first.slow = {5}
    async with uploading(first) as (uploader, log):
        receiver = Receiver("t", log, [5])
        uploader.wake(receiver)
        assert await asyncio.to_thread(first.begun.wait, 20)
        change = asyncio.create_task(uploader.read_from(second))
        receiver.wants.append(6)
        uploader.wake(Receiver("o", log, [7]))
        await log.until(lambda: "o" in log.names)
        assert not change.done()
        assert second.readers == []
        first.may_read.set()
        await change
        await log.until(lambda: receiver.got == [5, 6])
    assert len(first.readers) == 1


@virtual_time
async def test_one_that_leaves_while_its_chunks_are_read_gets_nothing() -> None:
    store = Store()
    store.cold, store.slow = {5, 7}, {5}
    async with uploading(store, threads=1) as (uploader, log):
        gone, other = Receiver("g", log, [5, 6]), Receiver("o", log, [7])
        uploader.wake(gone)
        assert await asyncio.to_thread(store.begun.wait, 20)
        uploader.remove(gone)
        store.may_read.set()
        uploader.wake(other)  # is read after it by the only thread
        await log.until(lambda: bool(other.got))
        assert log.names == ["o"]
        assert uploader.served == 1
        uploader.remove(gone)


@virtual_time
async def test_nothing_is_being_read_any_more_once_it_is_closed() -> None:
    store = Store()
    store.cold, store.slow = {5, 6}, {5}
    async with uploading(store) as (uploader, log):
        gone, other = Receiver("g", log, [5]), Receiver("o", log, [6])
        uploader.wake(gone)
        assert await asyncio.to_thread(store.begun.wait, 20)
        uploader.remove(gone)
        uploader.wake(other)
        await log.until(lambda: bool(other.got))
        closing = asyncio.create_task(uploader.aclose())
        for _ in range(3):
            await asyncio.sleep(0)
        # The store may be closed afterwards, and a thread reads from it.
        assert not closing.done()
        store.may_read.set()
        await closing


@virtual_time
async def test_nobody_is_served_after_closing_not_even_who_was_being_read_for() -> None:
    store = Store()
    store.cold, store.slow = set(range(20)), {5}
    async with uploading(store, threads=1) as (uploader, log):
        receiver = Receiver("t", log, [5, *range(40)])
        uploader.wake(receiver)
        assert await asyncio.to_thread(store.begun.wait, 20)
        left = len(receiver.wants)
        closing = asyncio.create_task(uploader.aclose())
        await asyncio.sleep(0)
        store.may_read.set()
        await closing
        uploader.wake(receiver)
        assert len(receiver.wants) == left


@virtual_time
async def test_what_is_left_of_a_rate_is_not_sent_after_closing() -> None:
    async with uploading(Store(), SIZE) as (uploader, log):
        receiver = Receiver("t", log, range(50))
        uploader.wake(receiver)
        await uploader.aclose()
        await asyncio.sleep(100)
        assert len(receiver.got) <= 1


async def test_a_lone_request_is_answered_at_once_where_nobody_has_to_wait() -> None:
    store = Store()
    store.cold.add(1)
    store.bad.add(2)
    async with uploading(store) as (uploader, _):
        assert uploader.read_now(0) == CONTENT.chunk(0)
        uploader.on_sent(Receiver("a", Log()), [SIZE])
        assert uploader.read_now(1) is None, "it has to come from the disk"
        assert uploader.read_now(2) is None, "it is for its turn to say what is wrong"
        assert (uploader.served, uploader.sent) == (1, SIZE)
    async with uploading(store, rate=1e9) as (uploader, _):
        assert uploader.read_now(0) is None, "there is a rate to keep"


class Threaded(Receiver):
    """Send chunks itself; the test says when it has sent them."""

    def __init__(self, name: str, log: Log, wants: Sequence[int]) -> None:
        super().__init__(name, log, wants)
        self.made: list[asyncio.Future[list[Sent]]] = []
        self.sent: list[int] = []

    @property
    def can_send_read(self) -> bool:
        return True

    def send_read(
        self,
        requests: Requests,
        read: Callable[[int | Span], Read],
        room: Room,
    ) -> asyncio.Future[list[Sent]]:
        self.sizes: list[Sent] = [2 * LONE_SIZE for _ in requests]
        self.made.append(asyncio.get_running_loop().create_future())
        self._log.tell()
        return self.made[-1]

    def finish(self, uploader: Uploader) -> None:
        """Let the last batch be sent."""
        if self.made and not self.made[-1].done():
            self.made[-1].set_result(self.sizes)

    def on_sent(self, sent: list[tuple[Hashable, int]]) -> None:
        self.sent += [size for _, size in sent]
        self._log.tell()


class Either(Threaded):
    """Note how many chunks the uploader passes to it."""

    alone = True

    @property
    def is_alone(self) -> bool:
        return self.alone

    def send(self, chunks: list[tuple[Hashable, bytes]]) -> None:
        self.got += [len(data) for _, data in chunks]


@virtual_time
async def test_small_chunks_are_sent_in_one_go_while_there_is_one_receiver() -> None:
    content = Content.make(8 * ALONE_LEAST, ALONE_LEAST)
    async with uploading(Store(content)) as (uploader, log):
        half = MAX_QUEUED_REQUESTS // 2
        first = Either("a", log, [0] * (half + 1))
        second = Either("b", log, range(8))
        uploader.wake(first)
        assert (len(first.sizes), first.got) == (half, [])
        # Turns are short once there are others.
        second.alone = first.alone = False
        uploader.wake(second)
        assert (second.made, second.got) == ([], [ALONE_LEAST] * 8)
        first.finish(uploader)
        await log.until(lambda: len(first.sent) == half)
        assert (len(first.made), first.got) == (1, [ALONE_LEAST])


def take_every_place(uploader: Uploader, log: Log) -> list[Receiver]:
    """Return receivers whose sockets are full, as many as are sent to at once."""
    receivers = [Receiver(f"{n}_", log) for n in range(FIRST_LIMIT)]
    for receiver in receivers:
        receiver.room = 0
        uploader.on_sent(receiver, [1])
    return receivers


def take_one_batch_each(uploader: Uploader, log: Log, number: int) -> list[Receiver]:
    """Have receivers request two batches each, of which their sockets accept one."""
    receivers = [Receiver(f"{n:x}_", log, range(2 * BATCH)) for n in range(number)]
    for receiver in receivers:
        receiver.room = BATCH
        uploader.wake(receiver)
    return receivers


@virtual_time
async def test_a_few_receivers_are_sent_to_at_the_same_time() -> None:
    async with uploading(Store()) as (uploader, log):
        receivers = take_one_batch_each(uploader, log, FIRST_LIMIT + 2)
        assert [len(each.got) for each in receivers] == [BATCH] * FIRST_LIMIT + [0, 0]
        receivers[1].room = 2 * BATCH
        receivers[1].wants.clear()
        uploader.on_writable(receivers[1])
        assert len(receivers[FIRST_LIMIT].got) == BATCH
        assert not receivers[FIRST_LIMIT + 1].got
        uploader.remove(receivers[0])
        assert len(receivers[FIRST_LIMIT + 1].got) == BATCH


@virtual_time
async def test_a_receiver_without_requests_makes_room_when_others_are_sent_to() -> None:
    async with uploading(Store(LARGE)) as (uploader, log):
        receivers = take_every_place(uploader, log)
        assert uploader.read_now(0) is None, "our link is busy"
        receivers[0].room = 1
        assert uploader.read_now(0) == LARGE.chunk(0)


@virtual_time
async def test_lone_requests_for_blocks_or_little_do_not_wait_for_a_place() -> None:
    async with uploading(Store(LARGE)) as (uploader, log):
        take_every_place(uploader, log)
        waiting = Receiver("w", log, [0])
        uploader.wake(waiting)
        assert uploader.read_now(Span(0, 5, 99)) == LARGE.chunk(0)[5:99]
        last = LARGE.count - 1
        assert uploader.read_now(last) == LARGE.chunk(last)
        assert uploader.read_now(0) is None
        assert not waiting.got


@virtual_time
async def test_receivers_that_read_do_not_wait_for_a_place() -> None:
    async with uploading(Store()) as (uploader, log):
        busy = take_every_place(uploader, log)
        first, reader = Receiver("f", log, [0]), Receiver("r", log, [1])
        reader.is_reader = True
        uploader.wake(first)
        uploader.wake(reader)
        assert (first.got, reader.got) == ([], [1])
        first.is_reader = True  # it requests blocks while it waits
        uploader.wake(first)
        assert first.got == [0]
        gone = Receiver("g", log, [2])
        uploader.wake(gone)
        gone.is_reader, gone.room = True, 0
        uploader.wake(gone)
        uploader.remove(gone)
        busy[0].room = 1
        later = Receiver("l", log, [3])
        uploader.wake(later)
        assert (later.got, gone.got) == ([3], [])


@virtual_time
async def test_a_receiver_that_leaves_while_the_rate_delays_it_is_not_served() -> None:
    bucket, log = RateLimit(10 * SIZE), Log()
    with ThreadPoolExecutor(1) as threads:
        uploader = Uploader(Store(), make_resources(threads, up=bucket))
        take_every_place(uploader, log)
        bucket.take(15 * SIZE, asyncio.get_running_loop().time())
        gone, later = Receiver("g", log, [2]), Receiver("l", log, [3])
        gone.is_reader = later.is_reader = True
        uploader.wake(gone)
        uploader.wake(later)
        uploader.remove(gone)
        assert later.got == []
        await asyncio.sleep(HELD_TIME - 0.1)
        assert (gone.got, later.got) == ([], [3]), "every place is still taken"
        await uploader.aclose()


@virtual_time
async def test_receivers_that_send_from_a_thread_take_their_places_meanwhile() -> None:
    async with uploading(Store(LARGE)) as (uploader, log):
        receivers = [Threaded(f"{n}_", log, [0, 1]) for n in range(FIRST_LIMIT + 2)]
        for each in receivers:
            uploader.wake(each)
        assert [len(each.made) for each in receivers] == [1] * FIRST_LIMIT + [0, 0]
        uploader.on_writable(receivers[0])  # another message came from its peer
        assert not receivers[FIRST_LIMIT].made
        receivers[0].finish(uploader)
        await log.until(lambda: len(receivers[FIRST_LIMIT].made) == 1)
        assert not receivers[FIRST_LIMIT + 1].made
        receivers[1].room = 0  # its socket is full
        receivers[1].finish(uploader)
        await log.until(lambda: len(receivers[1].sent) == 2)
        assert not receivers[FIRST_LIMIT + 1].made
        receivers[1].room = 1
        uploader.on_writable(receivers[1])
        assert len(receivers[FIRST_LIMIT + 1].made) == 1
        assert (uploader.served, uploader.sent) == (4, 4 * 2 * LONE_SIZE)
        for each in receivers:
            uploader.remove(each)
            each.finish(uploader)


@virtual_time
async def test_receivers_whose_sockets_accept_nothing_do_not_hold_up_others() -> None:
    async with uploading(Store()) as (uploader, log):
        receivers = take_one_batch_each(uploader, log, 2 * FIRST_LIMIT)
        await asyncio.sleep(HELD_TIME)
        assert all(len(each.got) == BATCH for each in receivers)


@virtual_time
async def test_most_turns_go_to_the_receiver_with_the_highest_rank() -> None:
    ranks = {"a": 0.0, "b": 0.0, "c": 1.0}

    def rank(receiver: BaseReceiver) -> float:
        assert isinstance(receiver, Receiver)
        return ranks[receiver.name]

    with ThreadPoolExecutor(1) as threads:
        resources = make_resources(threads, limit_up=100 * SIZE)
        uploader, log = Uploader(Store(), resources, rank), Log()
        for name in ranks:
            uploader.wake(Receiver(name, log, range(40)))
        await log.until(lambda: len(log.names) == 55)
        turns = log.names[15:]  # after the first burst
        assert turns.count("c") > 20
        assert turns.count("a") >= 3
        assert turns.count("b") >= 3
        await uploader.aclose()
