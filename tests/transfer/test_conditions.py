"""Whoever waits for a goal hears when it is reached, and when it cannot be."""

import asyncio

import pytest

from shoal.errors import NotFoundError
from shoal.transfer.conditions import Goal


async def waiting(goal: Goal, values: list[int]) -> "asyncio.Task[None]":
    """Begin to wait until there are two values."""
    task = asyncio.create_task(goal.reach(lambda: len(values) == 2))
    await asyncio.sleep(0)
    assert goal.is_set
    return task


async def test_what_is_reached_already_is_not_waited_for() -> None:
    goal = Goal()
    async with asyncio.timeout(5):
        await goal.reach(lambda: True)
    assert not goal.is_set


async def test_a_check_ends_the_wait_only_when_it_holds() -> None:
    goal, values = Goal(), [1]
    task = await waiting(goal, values)
    goal.check()
    await asyncio.sleep(0)
    assert not task.done()
    values.append(2)
    goal.check()
    goal.check()
    async with asyncio.timeout(5):
        await task
    assert not goal.is_set


async def test_a_failure_is_raised_where_it_is_waited_for() -> None:
    goal = Goal()
    task = await waiting(goal, [])
    goal.fail(NotFoundError("first"))
    goal.fail(NotFoundError("second"))
    goal.check()
    with pytest.raises(NotFoundError, match="first"):
        await task


async def test_a_failure_while_nobody_waits_is_raised_by_the_next_wait() -> None:
    goal = Goal()
    goal.fail(NotFoundError("meanwhile"))
    async with asyncio.timeout(5):
        with pytest.raises(NotFoundError, match="meanwhile"):
            await goal.reach(lambda: False)


async def test_a_wait_that_is_cancelled_leaves_nothing() -> None:
    goal = Goal()
    task = await waiting(goal, [])
    task.cancel()
    await asyncio.wait([task])
    assert not goal.is_set
    goal.check()
    async with asyncio.timeout(5):
        await goal.reach(lambda: True)


async def test_each_waits_for_its_own() -> None:
    goal, values = Goal(), [1]
    early = asyncio.create_task(goal.reach(lambda: len(values) >= 2))
    late = asyncio.create_task(goal.reach(lambda: len(values) >= 3))
    await asyncio.sleep(0)
    values.append(2)
    goal.check()
    async with asyncio.timeout(5):
        await early
    assert not late.done()
    assert goal.is_set
    values.append(3)
    goal.check()
    async with asyncio.timeout(5):
        await late
    assert not goal.is_set


async def test_an_end_is_for_those_who_wait_and_no_later_ones() -> None:
    goal, values = Goal(), [1]
    tasks = [await waiting(goal, values) for _ in range(2)]
    goal.end(NotFoundError("nobody"))
    for task in tasks:
        with pytest.raises(NotFoundError, match="nobody"):
            await task
    task = await waiting(goal, values)
    values.append(2)
    goal.check()
    async with asyncio.timeout(5):
        await task
