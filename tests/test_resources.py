"""The resources of a node: its threads, and what ends with it."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from shoal.config.settings import Settings
from shoal.resources import Resources


async def test_long_work_does_not_delay_short_work() -> None:
    resources, go_on = Resources(Settings()), threading.Event()

    def hash_for_long(stopped: Callable[[], bool]) -> bool:
        return go_on.wait(20)

    hashing = [
        asyncio.create_task(resources.in_stoppable_thread(hash_for_long))
        for _ in range(8)
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await resources.in_thread(lambda: "read") == "read"
    go_on.set()
    assert all(await asyncio.gather(*hashing))
    await resources.aclose()


async def test_a_caller_cancelled_twice_still_waits_for_its_work() -> None:
    resources, go_on, undone = Resources(Settings()), threading.Event(), list[bool]()

    def work(stopped: Callable[[], bool]) -> bool:
        return go_on.wait(20)

    task = asyncio.create_task(resources.in_stoppable_thread(work, undone.append))
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == [True]
    await resources.aclose()


async def test_what_is_owned_is_closed_last_first_unless_it_is_released() -> None:
    resources, closed = Resources(Settings()), list[str]()
    resources.own(lambda: closed.append("first"))
    release = resources.own(lambda: closed.append("released"))
    resources.own(lambda: closed.append("last"))
    release()
    await resources.aclose()
    await resources.aclose()
    assert closed == ["last", "first"]


async def test_a_failing_close_does_not_keep_the_others_open() -> None:
    resources, closed = Resources(Settings()), list[str]()
    resources.own(lambda: closed.append("first"))

    async def fail() -> None:
        raise OSError("the disk is gone")

    resources.own(fail)
    with pytest.raises(OSError, match="disk is gone"):
        await resources.aclose()
    assert closed == ["first"]
