"""Names are looked up without holding up the end of the program."""

import asyncio
import socket
import threading

import pytest

from shoal.net import resolver
from shoal.net.resolver import call_in_daemon, look_up

PATIENCE = 30.0  # seconds for what takes none


async def test_a_name_has_the_addresses_that_the_system_knows() -> None:
    found = await look_up("localhost", 4001)
    assert {each[4][0] for each in found} <= {"127.0.0.1", "::1"}
    assert {each[4][1] for each in found} == {4001}
    with pytest.raises(UnicodeError):
        await look_up("a" * 64, 4001)


def test_a_name_server_that_does_not_answer_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        asked.set()
        answer.wait(PATIENCE)
        return []

    async def work() -> None:
        task = asyncio.create_task(look_up("silent.example", 4001))
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        task.cancel()
        await asyncio.wait([task])

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asyncio.run(work())
    was_open = not answer.is_set()
    answer.set()
    assert was_open
    (thread,) = (t for t in threading.enumerate() if "silent" in t.name)
    assert thread.daemon
    thread.join(PATIENCE)


async def test_lookups_at_once_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "_places", threading.BoundedSemaphore(1))
    answer = threading.Event()
    first = asyncio.create_task(call_in_daemon(answer.wait, "a"))
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many names"):
        await call_in_daemon(answer.wait, "a")
    answer.set()
    assert await first
    assert await call_in_daemon(answer.wait, "a")
