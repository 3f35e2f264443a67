"""A caller that waits for a condition learns when it is met, and when it cannot be."""

import asyncio

import pytest

from shoal.errors import NotFoundError
from shoal.transfer.conditions import Conditions


async def waiting(conditions: Conditions, values: list[int]) -> "asyncio.Task[None]":
    """Begin to wait until there are two values."""
    task = asyncio.create_task(conditions.wait(lambda: len(values) == 2))
    await asyncio.sleep(0)
    assert conditions.is_awaited
    return task


async def test_what_is_reached_already_is_not_waited_for() -> None:
    conditions = Conditions()
    async with asyncio.timeout(5):
        await conditions.wait(lambda: True)
    assert not conditions.is_awaited


async def test_a_check_ends_the_wait_only_when_it_holds() -> None:
    conditions, values = Conditions(), [1]
    task = await waiting(conditions, values)
    conditions.check()
    await asyncio.sleep(0)
    assert not task.done()
    values.append(2)
    conditions.check()
    conditions.check()
    async with asyncio.timeout(5):
        await task
    assert not conditions.is_awaited


async def test_a_failure_is_raised_where_it_is_waited_for() -> None:
    conditions = Conditions()
    task = await waiting(conditions, [])
    conditions.fail(NotFoundError("first"))
    conditions.fail(NotFoundError("second"))
    conditions.check()
    with pytest.raises(NotFoundError, match="first"):
        await task


async def test_a_failure_while_nobody_waits_is_raised_by_the_next_wait() -> None:
    conditions = Conditions()
    conditions.fail(NotFoundError("meanwhile"))
    async with asyncio.timeout(5):
        with pytest.raises(NotFoundError, match="meanwhile"):
            await conditions.wait(lambda: False)


async def test_a_wait_that_is_cancelled_leaves_nothing() -> None:
    conditions = Conditions()
    task = await waiting(conditions, [])
    task.cancel()
    await asyncio.wait([task])
    assert not conditions.is_awaited
    conditions.check()
    async with asyncio.timeout(5):
        await conditions.wait(lambda: True)


async def test_each_waits_for_its_own() -> None:
    conditions, values = Conditions(), [1]
    early = asyncio.create_task(conditions.wait(lambda: len(values) >= 2))
    late = asyncio.create_task(conditions.wait(lambda: len(values) >= 3))
    await asyncio.sleep(0)
    values.append(2)
    conditions.check()
    async with asyncio.timeout(5):
        await early
    assert not late.done()
    assert conditions.is_awaited
    values.append(3)
    conditions.check()
    async with asyncio.timeout(5):
        await late
    assert not conditions.is_awaited


async def test_an_end_is_for_those_who_wait_and_no_later_ones() -> None:
    conditions, values = Conditions(), [1]
    tasks = [await waiting(conditions, values) for _ in range(2)]
    conditions.end(NotFoundError("nobody"))
    for task in tasks:
        with pytest.raises(NotFoundError, match="nobody"):
            await task
    task = await waiting(conditions, values)
    values.append(2)
    conditions.check()
    async with asyncio.timeout(5):
        await task
