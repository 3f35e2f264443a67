"""What a transfer asks of whom, with givers that are not on any network."""

import asyncio
from collections import Counter

import pytest

from shoal.core.manifest.chunks import Bitfield
from shoal.core.schedule.scheduler import CHOICE_PAUSE
from shoal.core.schedule.window import STALL_TIME
from shoal.errors import StoreError
from tests.helpers.givers import FakeGiver, Fetching, fetching
from tests.helpers.virtual_time import virtual_time
from tests.helpers.wire import Content

SIZE = 16_384
CONTENT = Content.make(100 * SIZE - 5, SIZE)
ALL = list(range(CONTENT.count))


class Silent(FakeGiver):
    def on_ask(self, index: int) -> None:
        pass

    def on_ask_any(self) -> None:
        pass


class Refuser(FakeGiver):
    """Refuse one chunk, or all, for good or because it is busy."""

    refused: range | set[int] = range(1000)
    is_busy = False

    def on_ask(self, index: int) -> None:
        if index in self.refused:
            self.later(lambda: self.refuse(index, is_busy=self.is_busy))
        else:
            super().on_ask(index)


def some(indexes: list[int]) -> Bitfield:
    have = Bitfield(CONTENT.count)
    for index in indexes:
        have.add(index)
    return have


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_only_full_giver_chooses_and_is_asked_for_no_more_than_that() -> None:
    async with fetching(CONTENT) as made:
        giver = FakeGiver(made)
        made.download.add(giver, can_choose=True)
        await made.complete()
        assert giver.any_asked == CONTENT.count
        assert not giver.asked


@virtual_time
async def test_of_two_full_givers_each_is_asked_by_index() -> None:
    async with fetching(CONTENT) as made:
        one, two = FakeGiver(made), FakeGiver(made)
        made.download.add(one, can_choose=True)
        made.download.add(two, can_choose=True)
        # The first had been asked to choose before the second came.
        chosen = one.any_asked
        await made.complete()
        assert one.any_asked == chosen == 1
        assert two.any_asked == 0
        assert len(two.asked) > CONTENT.count / 4
        # What it chose may have been asked of the other as well; nothing else is.
        total = one.any_asked + len(one.asked) + len(two.asked)
        assert total <= CONTENT.count + chosen


@virtual_time
async def test_givers_that_cannot_choose_are_never_asked_to() -> None:
    async with fetching(CONTENT) as made:
        giver = FakeGiver(made)
        made.download.add(giver)
        await made.complete()
        assert giver.any_asked == 0
        assert sorted(giver.asked) == ALL


@virtual_time
async def test_one_that_has_only_some_is_asked_for_those_alone() -> None:
    async with fetching(CONTENT) as made:
        full, part = FakeGiver(made), FakeGiver(made)
        made.download.add(part, some(ALL[:10]), can_choose=True)
        made.download.add(full, can_choose=True)
        made.download.on_have(part, [50, 51])
        await made.complete()
        assert part.any_asked == 0
        assert set(part.asked) <= {*ALL[:10], 50, 51}
        assert part.asked


@virtual_time
async def test_who_wants_only_some_chunks_lets_nobody_choose() -> None:
    async with fetching(CONTENT, wanted=[7, 3]) as made:
        giver = FakeGiver(made)
        made.download.add(giver, can_choose=True)
        await made.complete()
        assert (giver.any_asked, giver.asked) == (0, [7, 3])
        made.is_complete = False
        made.download.want([3, 9])
        await made.complete()
        assert giver.asked == [7, 3, 9]


@virtual_time
async def test_one_that_has_nothing_to_choose_is_asked_by_index() -> None:
    class Chooser(FakeGiver):
        def on_ask_any(self) -> None:
            self.later(lambda: self.refuse(None))

    async with fetching(CONTENT) as made:
        giver = Chooser(made)
        made.download.add(giver, can_choose=True)
        begun = now()
        await made.complete()
        assert sorted(giver.asked) == ALL
        assert now() - begun < CHOICE_PAUSE


@virtual_time
async def test_one_that_always_chooses_the_same_chooses_no_more() -> None:
    class Same(FakeGiver):
        def on_ask_any(self) -> None:
            self.later(lambda: self.give(0, was_any=True))

    async with fetching(CONTENT) as made:
        giver = Same(made)
        made.download.add(giver, can_choose=True)
        await made.complete()
        assert giver.any_asked <= 12
        assert not made.lies


@virtual_time
async def test_what_is_refused_is_asked_of_another_and_not_again_of_the_same() -> None:
    async with fetching(CONTENT) as made:
        refuser, other = Refuser(made), FakeGiver(made)
        refuser.refused = {5, 99}
        other.delay = 0.05
        made.download.add(refuser)
        made.download.add(other)
        await made.complete()
        assert Counter(refuser.asked)[5] <= 1
        assert Counter(refuser.asked)[99] <= 1
        assert dict((i, g) for g, i in made.verified)[99] is other


@virtual_time
async def test_what_one_refused_is_never_asked_of_it_again() -> None:
    async with fetching(CONTENT) as made:
        refuser, other = Refuser(made), FakeGiver(made)
        made.download.add(refuser)
        made.download.add(other)
        await made.complete()
        assert refuser.asked
        assert len(refuser.asked) == len(set(refuser.asked))
        assert {giver for giver, _ in made.verified} == {other}


@virtual_time
async def test_one_that_is_busy_is_asked_again_but_not_at_once() -> None:
    class Busy(Refuser):
        is_busy = True
        delay = 0.05

    async with fetching(CONTENT) as made:
        busy = Busy(made)
        made.download.add(busy)
        await asyncio.sleep(5)
        # Each refusal takes 0.05 s, with two outstanding at least.
        assert len(busy.asked) <= 5 / 0.05 * 2 + 10
        busy.refused = set()
        await made.complete()


@virtual_time
async def test_near_the_end_another_is_asked_and_the_slower_is_told_to_stop() -> None:
    class Slow(FakeGiver):
        delay = 1.5

    content = Content.make(8 * SIZE, SIZE)
    async with fetching(content) as made:
        slow, fast = Slow(made), FakeGiver(made)
        made.download.add(slow)
        made.download.add(fast)
        owed = set(slow.asked)
        assert owed
        begun = now()
        await made.complete()
        # Long before the slow one answers or counts as stalled.
        assert now() - begun < 1.0
        assert owed <= set(fast.asked)
        assert set(slow.cancelled) == owed
        assert not set(fast.cancelled) & set(range(8))
        # Its answers come all the same, and harm nobody.
        await asyncio.sleep(3)
        assert not made.lies
        assert len(made.verified) == 8


@virtual_time
async def test_what_one_that_stalls_owes_goes_to_others() -> None:
    async with fetching(CONTENT) as made:
        silent = Silent(made)
        made.download.add(silent)
        owed = list(silent.asked)
        assert owed
        late = FakeGiver(made)
        begun = now()
        await asyncio.sleep(STALL_TIME + 1)
        assert made.stalled == [silent]
        assert silent.asked == owed
        made.download.add(late)
        await made.complete()
        assert sorted(late.asked) == ALL
        assert now() - begun < STALL_TIME + 10
        # When it comes back, it has its turn again, and nothing comes twice.
        silent.give(owed[0])
        assert len(made.verified) == CONTENT.count


@virtual_time
async def test_two_that_stall_at_the_same_chunks_do_not_keep_a_third_from_them() -> (
    None
):
    content = Content.make(SIZE, SIZE)
    async with fetching(content) as made:
        one, two, late = Silent(made), Silent(made), FakeGiver(made)
        made.download.add(one)
        made.download.add(two)
        await asyncio.sleep(1)
        # Each was asked for everything; no more copies are asked for.
        assert one.asked == two.asked == [0]
        await asyncio.sleep(2 * STALL_TIME)
        made.download.add(late)
        assert late.asked == [0]
        await made.complete()


@virtual_time
async def test_one_that_stalls_at_choosing_does_not_hold_up_the_rest() -> None:
    async with fetching(CONTENT) as made:
        silent, part = Silent(made), FakeGiver(made)
        made.download.add(silent, can_choose=True)
        assert silent.any_asked
        made.download.add(part, some(ALL))
        await made.complete()
        assert made.stalled in ([], [silent])


@virtual_time
async def test_one_that_leaves_owes_nothing() -> None:
    async with fetching(CONTENT) as made:
        gone, other = Silent(made), FakeGiver(made)
        made.download.add(gone)
        made.download.add(other)
        made.download.remove(gone)
        made.download.remove(gone)
        begun = now()
        await made.complete()
        assert now() - begun < STALL_TIME
        gone.give(0)  # too late to mean anything
        gone.refuse(1)


def wrong(made: Fetching, index: int) -> bytes:
    return bytes(len(made.content.chunk(index)))


@pytest.mark.parametrize("can_choose", [False, True])
@virtual_time
async def test_what_does_not_verify_is_a_lie_and_is_asked_of_another(
    can_choose: bool,
) -> None:
    class Liar(FakeGiver):
        def give(
            self, index: int, data: bytes | None = None, *, was_any: bool = False
        ) -> None:
            super().give(index, wrong(self.fetching, index), was_any=was_any)

    async with fetching(CONTENT) as made:
        liar, honest = Liar(made), FakeGiver(made)
        made.download.add(liar, can_choose=can_choose)
        await made.until(lambda: bool(made.lies))
        made.download.add(honest)
        await made.complete()
        assert {giver for giver, _ in made.lies} == {liar}
        assert {giver for giver, _ in made.verified} == {honest}


@virtual_time
async def test_a_choice_that_does_not_exist_is_a_lie() -> None:
    class Beyond(FakeGiver):
        def on_ask_any(self) -> None:
            beyond = self.fetching.content.count
            self.later(lambda: self.give(beyond, b"x", was_any=True))

    async with fetching(CONTENT) as made:
        liar, honest = Beyond(made), FakeGiver(made)
        made.download.add(liar, can_choose=True)
        await made.until(lambda: bool(made.lies))
        assert made.lies[0] == (liar, CONTENT.count)
        made.download.add(honest)
        await made.complete()
        assert not made.errors


@pytest.mark.parametrize("can_choose", [False, True])
@virtual_time
async def test_a_rate_is_kept(can_choose: bool) -> None:
    async with fetching(CONTENT, limit_down=20 * SIZE) as made:
        givers = [FakeGiver(made) for _ in range(1 if can_choose else 3)]
        begun = now()
        for giver in givers:
            made.download.add(giver, can_choose=can_choose)
        await made.complete()
        # 100 chunks at 20 a second, but for the first burst.
        assert now() - begun == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize("most", [16, 64])
@virtual_time
async def test_nobody_is_asked_for_more_than_it_keeps(most: int) -> None:
    content = Content.make(600 * 1024, 1024)
    async with fetching(content) as made:
        giver = FakeGiver(made)
        made.download.add(giver, most=most)
        await made.complete()
        assert giver.most <= most
        assert giver.most > most / 2


@virtual_time
async def test_the_failure_of_the_store_is_told() -> None:
    async with fetching(CONTENT) as made:

        def fail(items: object) -> None:
            raise StoreError("no space")

        made.store.put_many = fail  # type: ignore[method-assign]
        made.download.add(FakeGiver(made))
        await made.until(lambda: bool(made.errors))
        await asyncio.sleep(1)
        assert [str(error) for error in made.errors] == ["no space"]
        assert not made.verified


@virtual_time
async def test_nothing_is_asked_for_that_is_there() -> None:
    content = Content.make(0)
    async with fetching(content) as made:
        assert made.download.is_complete
    async with fetching(CONTENT) as made:
        giver = FakeGiver(made)
        made.download.add(giver)
        await made.complete()
        asked = len(giver.asked)
        await asyncio.sleep(10)
        assert len(giver.asked) == asked
